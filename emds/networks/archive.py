"""What `torch.save` writes, written with a hash of what it says, and read only if it is whole.

An archive is a zip of a pickle and the bytes of its tensors. PyTorch does not look at the zip's
checksums, so a flipped bit gives other weights. Here every member is read in full and compared
with its checksum, what could exhaust time or memory is refused, and only then is it unpickled.
What comes of it is compared with the hash that is stored beside it.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import pickletools
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from emds.errors import CheckpointError

HASH = "sha256"
"""Key under which an archive holds the hash of all else in it."""

_MOST_MEMBERS = 50_000
_LARGEST_PICKLE = 2**22  # bytes; that of the largest network's state has a sixth of it
_LARGEST_EXPANSION, _ALWAYS = 20, 2**26  # of compressed members; bytes that are never many
_MOST_VALUES = 2**18  # numbers and names, and of text every tenth letter; as often as referred to
_DEEPEST = 32
_WIDEST_INTEGER = 64  # bits
_OPCODES = """
    PROTO STOP MARK EMPTY_DICT EMPTY_LIST EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 APPEND APPENDS
    SETITEM SETITEMS BINPUT LONG_BINPUT BINGET LONG_BINGET BININT BININT1 BININT2 LONG1 BINFLOAT
    BINUNICODE NEWTRUE NEWFALSE NONE GLOBAL REDUCE BUILD BINPERSID
""".split()  # noqa: SIM905  (a list would take thirty lines)
"""All that `torch.save` writes of tensors and plain data."""


def write_archive(content: Mapping[str, Any], file: IO[bytes]) -> None:
    """Write tensors and plain data, with their hash under the key `HASH`.

    Raises
    ------
    OSError
        If the file cannot be written; PyTorch alone would hide it behind a `RuntimeError`.
    ValueError
        If it is something that `read_archive` would refuse.
    """
    watched = _Watched(file)
    try:
        torch.save({**content, HASH: content_hash(content)}, cast(IO[bytes], watched))
    except Exception:
        if watched.failure is not None:
            raise watched.failure from None
        raise


class _Watched:
    """A file that remembers why it could not be written."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.failure: OSError | None = None

    def write(self, data: Any) -> int:
        try:
            return self.file.write(data)
        except OSError as error:
            self.failure = error
            raise

    def flush(self) -> None:
        self.file.flush()


def read_archive(path: Path) -> dict[str, Any]:
    """Read tensors and plain data that `write_archive` or an older emds wrote.

    Returns
    -------
    dict
        As it was written, the hash included if there is one.

    Raises
    ------
    CheckpointError
        If the file is missing, cut off, damaged, no such archive, or holds what could run code
        or exhaust the machine.
    """
    if not path.is_file():
        raise CheckpointError(f"no checkpoint at {path}: there is no such file.")
    members = read_members(path, compressed=False)
    try:
        _check_pickle(members)
        content = _unpickle(members)
        found = content_hash(
            {key: value for key, value in content.items() if key != HASH},
            sum(map(len, members.values())),
        )
    except MemoryError:
        raise
    except Exception as error:
        # torch raises UnpicklingError, RuntimeError, EOFError, KeyError... as the file decides.
        raise CheckpointError(
            f"refused to load {path}: {_reason(error)}. Use a file written by `emds train`."
        ) from None
    if content.get(HASH, found) != found:
        raise CheckpointError(
            f"refused to load {path}: it is damaged, for its content does not have the hash that "
            "is stored with it. Take a copy that is whole, or make it again."
        )
    return content


def read_members(path: Path, *, compressed: bool) -> dict[str, bytes]:
    """Read every member of a zip, and compare it with its checksum.

    Parameters
    ----------
    path : Path
        A file.
    compressed : bool
        Members may be compressed, as far as weights can be.

    Raises
    ------
    CheckpointError
        If it is no zip, a checksum is wrong, or it is larger than it may be.
    """
    size = path.stat().st_size
    largest = size * _LARGEST_EXPANSION + _ALWAYS if compressed else size
    kinds = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED} if compressed else {zipfile.ZIP_STORED}
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            if (
                len(members) > _MOST_MEMBERS
                or len({member.filename for member in members}) < len(members)
                or any(member.compress_type not in kinds for member in members)
                or sum(member.file_size for member in members) > largest
            ):
                raise ValueError("its list of contents is not one of weights")
            return {member.filename: archive.read(member) for member in members}
    except MemoryError:
        raise
    except Exception as error:
        # zipfile raises BadZipFile, struct.error, NotImplementedError... as the damage decides.
        raise CheckpointError(
            f"cannot read {path}: it is not a model file written by `emds train`, nor another "
            f"archive of arrays, or it is cut off or damaged ({error}). Take a copy that is whole, "
            "or make it again."
        ) from None


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Read the arrays of an ``.npz`` file, each compared with its checksum.

    Raises
    ------
    CheckpointError
        If it is damaged, or holds objects other than arrays.
    """
    try:
        return {
            name.removesuffix(".npy"): np.lib.format.read_array(io.BytesIO(data))
            for name, data in read_members(path, compressed=True).items()
        }
    except (ValueError, TypeError, EOFError, MemoryError) as error:
        raise CheckpointError(
            f"refused to load {path}: it is damaged, or holds objects other than arrays ({error})."
        ) from None


def content_hash(content: Mapping[str, Any], most_bytes: float = math.inf) -> str:
    """Return the SHA-256 of tensors and plain data, whatever the order of keys.

    Parameters
    ----------
    content : mapping
        Of dictionaries, lists, numbers, text, None and tensors, nested.
    most_bytes : float
        Of all tensors together; more cannot have come from a file of this size.

    Raises
    ------
    ValueError
        If it holds anything else, or is nested so often that to look at it would take for ever.

    Examples
    --------
    >>> content_hash({"b": 1, "a": [2.0]}) == content_hash({"a": (2.0,), "b": 1})
    True
    >>> content_hash({"a": torch.zeros(2)}) == content_hash({"a": torch.zeros(1, 2)})
    False
    """
    walk = _Walk(most_bytes)
    walk.add(content, 0)
    return walk.digest.hexdigest()


class _Walk:
    """Hashes values one by one, and loses patience."""

    def __init__(self, most_bytes: float) -> None:
        self.digest = hashlib.sha256()
        self.values_left = _MOST_VALUES
        self.bytes_left = most_bytes

    def add(self, value: Any, depth: int) -> None:
        self.values_left -= 1 + (len(value) // 10 if isinstance(value, str) else 0)
        if self.values_left < 0 or depth > _DEEPEST:
            raise ValueError("it is nested too often or too deep for a checkpoint")
        if isinstance(value, Mapping):
            self.say(["mapping", len(value)])
            for key in sorted(value, key=_rank):
                self.add(key, depth + 1)
                self.add(value[key], depth + 1)
        elif isinstance(value, list | tuple):
            self.say(["sequence", len(value)])
            for one in value:
                self.add(one, depth + 1)
        elif isinstance(value, Tensor):
            self.add_tensor(value)
        elif isinstance(value, int) and value.bit_length() > _WIDEST_INTEGER:
            raise ValueError("it holds an integer that is too large")
        elif value is None or isinstance(value, bool | int | float | str):
            self.say(value)
        else:
            raise ValueError(f"it holds a {type(value).__name__}")

    def add_tensor(self, tensor: Tensor) -> None:
        plain = tensor.layout == torch.strided and not tensor.is_quantized and not tensor.is_meta
        if not plain:
            raise ValueError("it holds tensors of a kind that no checkpoint has")
        size = tensor.numel() * tensor.element_size()
        self.bytes_left -= size
        if self.bytes_left < 0 or size > tensor.untyped_storage().nbytes():
            raise ValueError("it says that it holds more numbers than there are in the file")
        self.say([str(tensor.dtype), list(tensor.shape)])
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        self.digest.update(flat.view(torch.uint8).numpy().data)

    def say(self, value: Any) -> None:
        self.digest.update(json.dumps(value).encode() + b"\n")


def _rank(key: Any) -> tuple[str, Any]:
    if not isinstance(key, str | int):
        raise ValueError(f"it has a {type(key).__name__} for a key")
    return type(key).__name__, key


def _check_pickle(members: Mapping[str, bytes]) -> None:
    """Refuse a pickle that is too large, or has instructions that no checkpoint needs."""
    pickles = [data for name, data in members.items() if name.endswith("/data.pkl")]
    if len(pickles) != 1 or len(pickles[0]) > _LARGEST_PICKLE:
        raise ValueError("it holds no list of tensors, or one too large for a checkpoint")
    for opcode, argument, _ in pickletools.genops(pickles[0]):
        if opcode.name not in _OPCODES:
            raise ValueError(f"it has the instruction {opcode.name}, weights_only refuses it")
        if isinstance(argument, int) and argument.bit_length() > _WIDEST_INTEGER:
            raise ValueError("it holds an integer that is too large")


def _unpickle(members: Mapping[str, bytes]) -> dict[str, Any]:
    """Let PyTorch read the members, in a zip of our own.

    What it makes of the headers in the file is another thing than what Python does: with one bit
    it takes a tensor for a folder, and gives whatever was in memory.
    """
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name), data)
    file.seek(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of old kinds of tensors; what must not be is refused
        content = torch.load(file, map_location="cpu", weights_only=True)
    if not isinstance(content, dict):
        raise ValueError(f"it holds a {type(content).__name__}, not an emds checkpoint")
    return content


def _reason(error: Exception) -> str:
    text = str(error)
    if "weights_only" in text or "Unsupported" in text:
        return "it holds objects other than tensors and plain data, which could run code"
    if isinstance(error, ValueError):
        return text
    return f"it is damaged ({type(error).__name__})"

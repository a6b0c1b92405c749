"""The arrows between packages point down only, and each library has its place.

::

    cli → stages → {io, noise, tiling, networks, training, segmentation, metrics, execution,
                    pyramid, datasets, demo}
        → {config, compare, symmetry, files, geometry, kernels, memory, numbers, signals, errors}
"""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "emds"

BASE = {
    "compare",
    "config",
    "errors",
    "files",
    "geometry",
    "kernels",
    "memory",
    "numbers",
    "progress",
    "signals",
    "symmetry",
}

# What else a part of emds may import; every part may import itself, errors, geometry, config,
# the type of a volume (emds.io.volume) and the version (emds).
MAY_IMPORT = {
    "__init__": {"execution", "io", "networks", "noise", "segmentation", "stages"},
    "__main__": {"cli"},
    "cli": {"execution", "io", "noise", "pretrained", "segmentation", "stages"},
    "stages": {
        "datasets",
        "demo",
        "execution",
        "io",
        "metrics",
        "networks",
        "noise",
        "pages",
        "pretrained",
        "pyramid",
        "segmentation",
        "tiling",
        "training",
    },
    "training": {"networks", "noise", "segmentation"},
    "tiling": {"networks"},
    "datasets": {"io"},
    "demo": {"pages"},
    "pages": set(),
    "execution": set(),
    "io": set(),
    "metrics": set(),
    "networks": {"segmentation"},
    "noise": set(),
    "pretrained": set(),
    "pyramid": set(),
    "segmentation": set(),
    "compare": set(),
    "config": set(),
    "geometry": set(),
    "errors": set(),
    "files": set(),
    "kernels": set(),
    "memory": set(),
    "numbers": set(),
    "progress": set(),
    "signals": set(),
    "symmetry": set(),
}

# Which parts may import a library; what is not listed may be imported anywhere.
HOME = {
    "typer": {"cli"},
    "rich": {"cli"},
    "torch": {"networks", "training", "tiling", "stages"},
    "zarr": {"io"},
    "daisy": {"execution"},
    "yaozarrs": {"io"},
    "tifffile": {"io"},
    "imagecodecs": {"io", "pages"},
    "jinja2": {"pages"},
    "h5py": {"io"},
    "numba": {"kernels"},
    "elf": {"segmentation"},
    "bioimage_cpp": {"segmentation"},
    "skimage": {"metrics", "pages"},
}


def part_of(path: Path) -> str:
    relative = path.relative_to(PACKAGE)
    return relative.parts[0] if len(relative.parts) > 1 else relative.stem


def imports_of(source: str) -> set[str]:
    """Return the dotted names a module imports, inside functions too."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are written in full"
            # `from emds import io` names a module just as `import emds.io` does.
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def violations(part: str, source: str) -> list[str]:
    allowed = BASE | {part, "__version__"} | MAY_IMPORT[part]
    wrong = []
    for name in sorted(imports_of(source)):
        top, _, rest = name.partition(".")
        if top == "emds" and rest and not rest.startswith("io.volume"):
            if rest.split(".")[0] not in allowed:
                wrong.append(name)
        elif part not in HOME.get(top, {part}):
            wrong.append(name)
    return wrong


MODULES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_only_what_lies_below_it(path):
    assert violations(part_of(path), path.read_text(encoding="utf-8")) == []


def test_every_part_has_its_place():
    assert {part_of(path) for path in MODULES} <= MAY_IMPORT.keys()


def test_errors_and_geometry_rest_on_nothing():
    assert parts_imported_by("errors") == set()
    assert parts_imported_by("geometry") == {"errors"}
    assert parts_imported_by("config") <= {"errors", "files", "geometry", "numbers"}
    assert parts_imported_by("files") == {"errors"}


def parts_imported_by(part: str) -> set[str]:
    """Return what all modules of a part import from other parts."""
    sources = [path.read_text(encoding="utf-8") for path in MODULES if part_of(path) == part]
    assert sources, "test invalid"
    names = set().union(*map(imports_of, sources))
    return {name.split(".")[1] for name in names if name.startswith("emds.")} - {part}


@pytest.mark.parametrize(
    ("part", "source"),
    [
        ("metrics", "import torch"),
        ("noise", "def f():\n    import zarr.codecs"),
        ("io", "from emds.noise import add_noise"),
        ("stages", "from emds.cli.console import Console"),
        ("stages", "import typer"),
        ("segmentation", "from emds import metrics"),
        ("networks", "from emds.io import open_volume"),
    ],
)
def test_the_check_notices(part, source):
    assert violations(part, source)


# What puts files in their places or removes them; everything else goes through these, so that no
# command can forget that an output is never an input and never somebody else's.
WRITERS = {
    "files.py": "write_whole",
    "io/output.py": "PendingOutput",
    "io/ownership.py": "what carries our mark",
    "io/seal.py": "inside a PendingOutput or a container of emds",
    "io/zarr_image.py": "inside a PendingOutput or a container of emds",
    "execution/done_log.py": "in the work folder of a PendingOutput",
    "execution/presence.py": "in the work folder of a PendingOutput",
    "stages/execute.py": "in the work folder of a PendingOutput",
    "stages/runner.py": "in the work folder of a PendingOutput",
    "stages/tables.py": "in the work folder of a PendingOutput",
    "stages/reproduce/work.py": "in the marked folder of a plan",
    "stages/reproduce/claims.py": "in the marked folder of a plan",
    "stages/train.py": "in a run folder",
    "training/run_folder.py": "in a run folder",
    "training/loop.py": "in a run folder",
}
_PLACING = {"replace", "rename", "unlink", "rmtree", "rmdir", "write_text", "write_bytes", "touch"}


def places_files(source: str) -> list[str]:
    """Return calls of methods that put files in their places, or remove them."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        name, of = node.func.attr, ast.unparse(node.func.value)
        if name == "replace" and len(node.args) != 1:
            continue  # of a string
        mode = [word.value for word in node.args[:1] if isinstance(word, ast.Constant)]
        opens = name == "open" and any(set(str(word)) & set("wax+") for word in mode)
        if (name in _PLACING and of != "dataclasses") or opens:
            found.append(ast.unparse(node))
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_files_are_put_in_their_places_by_few(path):
    if str(path.relative_to(PACKAGE)) not in WRITERS:
        assert places_files(path.read_text(encoding="utf-8")) == []


def test_a_module_that_writes_on_its_own_is_seen():
    for line in ("p.write_text(x)", "t.replace(p)", "shutil.rmtree(p)", "p.open('wb')"):
        assert places_files(line)
    assert not places_files("text.replace('a', 'b'); replace(options, a=1); p.open('rb')")

"""Failures a user can do something about, each with its exit code.

::

    EmdsError              1
    ├── UsageError         2   a wrong option, or options that contradict
    │   └── ConfigError    2   a wrong key or value in a config file or --set
    ├── DataError          3   an input that cannot be read or does not meet the requirements
    │   ├── VolumeError    3   a file, key or array
    │   ├── CheckpointError 3  a model file
    │   └── NoGainError  3   noisy data that a checkpoint gains nothing from; use it as it is
    ├── OutputExistsError  4   the output is already there
    ├── IncompleteError    5   part of the work failed; the rest is kept
    └── InterruptedRunError 75   stopped by a signal, 130 by Ctrl-C; resumable

Every message says what was expected, what came, where, and what to do next.
Anything that is not an `EmdsError` is a bug and keeps its traceback. `BlockError` only carries
another error to where it is known what to do about it.
"""

import errno

MACHINE_ERRORS = {
    errno.EBADF,  # stdout is closed
    errno.ENAMETOOLONG,
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EIO,
    errno.EMFILE,
    errno.ENFILE,
    errno.ENOMEM,
}
"""Of an OSError: the machine lacks something; the request was not wrong."""


class EmdsError(Exception):
    """Base of every failure that emds reports without a traceback."""

    exit_code = 1


class UsageError(EmdsError):
    """An option is wrong, or two options contradict each other."""

    exit_code = 2


class ConfigError(UsageError):
    """A configuration key or value is wrong."""


class DataError(EmdsError):
    """An input cannot be read or does not meet the requirements."""

    exit_code = 3


class VolumeError(DataError):
    """A volume cannot be found, opened or understood."""


class CheckpointError(DataError):
    """A model file cannot be read, or does not fit what is asked of it."""


class NoGainError(DataError):
    """Adapting a checkpoint to a volume made it no better, so none was written."""


class OutputExistsError(EmdsError):
    """The output exists and may not be replaced."""

    exit_code = 4


class IncompleteError(EmdsError):
    """Part of the work failed; what was done is kept and can be resumed."""

    exit_code = 5


class InterruptedRunError(EmdsError):
    """A signal stopped the run after its state was saved.

    Parameters
    ----------
    message : str
        What was done, what is kept, and how to go on.
    by_keyboard : bool
        It was Ctrl-C, for which a shell expects a code of its own.
    """

    exit_code = 75

    def __init__(self, message: str = "", *, by_keyboard: bool = False) -> None:
        super().__init__(message)
        if by_keyboard:
            self.exit_code = 130


class BlockError(Exception):
    """Between the parts of emds: a block of work failed, and its cause says why.

    Attributes
    ----------
    block : int
        Number of the block.
    """

    def __init__(self, block: int) -> None:
        super().__init__(f"block {block}")
        self.block = block

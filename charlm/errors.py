"""What can go wrong, and the exit code each kind ends the command with.

A message is one line: what is wrong, where, and what to do about it.
"""

import errno

NO_ACCESS = frozenset({  # errors of a path: nothing there, or not for us; any other is the device's
    errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG,
    errno.ELOOP,
})  # fmt: skip


class CharlmError(Exception):
    """Any failure that charlm foresees; `exit_code` is what the command line ends with."""

    exit_code = 1


class UsageError(CharlmError):
    """A setting is out of range, unknown, or at odds with another."""

    exit_code = 2


class DataError(CharlmError):
    """A corpus, configuration or model file holds something that cannot be used."""

    exit_code = 65


class MissingInputError(CharlmError):
    """A file to be read does not exist or cannot be opened."""

    exit_code = 66


class OutputError(CharlmError):
    """A file cannot be created, or would overwrite one that must stay."""

    exit_code = 73


class StorageError(CharlmError):
    """Reading or writing failed half-way: a full disk, a failing device."""

    exit_code = 74


class BusyError(CharlmError):
    """Another trainer holds the directory."""

    exit_code = 75


class DivergedError(CharlmError):
    """The loss or a gradient stopped being a finite number."""

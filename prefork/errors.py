"""What can go wrong, as one tree, and the exit code each kind ends the program with.

Floor 0: imports nothing of ours. An error says what was being done, with what, and what to do next:
`message` is the first line, each of `hints` one more line below it (three at most). The program prints
them as `error: …` on standard error and exits with `exit_code` (the codes follow sysexits.h where one fits).
"""

from __future__ import annotations

from typing import ClassVar, NoReturn

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_APP = 3
EXIT_ADDRESS_IN_USE = 75
EXIT_NO_PERMISSION = 77
EXIT_CONFIG = 78

MAX_HINTS = 3


class PreforkError(Exception):
    """The root of the tree. `message` is one line without a trailing full stop, `hints` up to three more."""

    exit_code: ClassVar[int] = EXIT_FAILED

    def __init__(self, message: str, *hints: str) -> None:
        super().__init__(message)
        self.message = message
        self.hints = hints[:MAX_HINTS]

    def __str__(self) -> str:
        return "\n  ".join((self.message, *self.hints))


class UsageError(PreforkError):
    """The command line cannot be understood (exit 2)."""

    exit_code = EXIT_USAGE


class AppError(PreforkError):
    """The app could not be found, imported or started (exit 3).

    `traceback` is the app's own, trimmed to the user's frames, or empty when the message says it all.
    """

    exit_code = EXIT_APP

    def __init__(self, message: str, *hints: str, traceback: str = "") -> None:
        super().__init__(message, *hints)
        self.traceback = traceback


class AddressInUseError(PreforkError):
    """A listener's address belongs to somebody else (exit 75)."""

    exit_code = EXIT_ADDRESS_IN_USE


class NoPermissionError(PreforkError):
    """The operating system said no (exit 77)."""

    exit_code = EXIT_NO_PERMISSION


class ConfigError(PreforkError):
    """A setting has an impossible value, or a configuration file cannot be read (exit 78)."""

    exit_code = EXIT_CONFIG


class ProtocolError(PreforkError):
    """A message on a channel is too long, is not JSON or is none of ours."""


def refuse_unreachable(value: NoReturn) -> NoReturn:
    """The end of a `match` that has a case for everything: the type checker proves that nothing gets here.

    `typing.assert_never` came with Python 3.11, and typing_extensions would cost the master 1 MB.
    """
    raise AssertionError(f"no case for {value!r}")

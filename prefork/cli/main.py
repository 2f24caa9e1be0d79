"""The program's door: run a command, and turn whatever went wrong into a few lines and an exit code.

Nothing but this catches `PreforkError`. A mistake of the user's never shows a traceback of ours; a bug of ours does.
Imports little at the top, so that a Ctrl-C while the rest is being imported ends here too.
"""

from __future__ import annotations

import errno
import gc
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, TextIO

from prefork.cli.commands import NOT_SERVING
from prefork.cli.complaints import print_error
from prefork.errors import EXIT_FAILED, PreforkError
from prefork.system import processes

if TYPE_CHECKING:
    from prefork.cli.readiness import Starter
    from prefork.system.spawning import Spawned

EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells count
NOT_SERVING_FLAGS = frozenset({"--help", "-h", "--version"})


def main(arguments: Sequence[str] | None = None, starter: Starter | None = None) -> int:
    """Run the program and return its exit code. `arguments` are the process's own unless given; `starter` waits for a
    master in the background.
    """
    processes.open_standard_streams()
    words = sys.argv[1:] if arguments is None else arguments
    head_start: Spawned | None = None
    try:
        head_start = _start_early(words)
        code = run_command(words, head_start, starter)
        _flush_stdout()
    except PreforkError as error:
        if starter is not None:
            starter.tell_error(error)
        print_error(error, sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # `prefork config | head`: whoever read has seen enough
        _mute_stdout()
        return EXIT_FAILED
    except OSError as error:
        if error.errno != errno.ENOSPC or error.filename is not None:
            raise
        _mute_stdout()
        print_error(PreforkError("cannot write to standard output: no space left"), sys.stderr)
        return EXIT_FAILED
    finally:
        if head_start is not None and head_start.is_idle():
            head_start.discard()
    return code


def _start_early(words: Sequence[str]) -> Spawned | None:
    """If this will serve, start the first zygote's interpreter now: it loads while we read the command line."""
    if not words or words[0] in NOT_SERVING or not NOT_SERVING_FLAGS.isdisjoint(words):
        return None
    from prefork.system.spawning import spawn_zygote  # noqa: PLC0415  # sockets, for those who serve

    gc.disable()  # so much is imported from here on that it would only get in the way
    try:
        return spawn_zygote()
    except OSError:  # the master will try again, and say what is wrong
        return None


def run_command(
    arguments: Sequence[str], head_start: Spawned | None = None, starter: Starter | None = None
) -> int:
    """Find the command and run it; click's errors become ours. `head_start` is for the command that serves."""
    if instruction := os.environ.get("_PREFORK_COMPLETE"):
        from prefork.cli.completion import answer_shell  # noqa: PLC0415
        from prefork.cli.program import make_program  # noqa: PLC0415

        return answer_shell(make_program(), instruction)
    from prefork.cli.cutting import cut_service_words  # noqa: PLC0415  # inside the reach of Ctrl-C

    if (service := cut_service_words(arguments)) is not None:
        from prefork.cli.reading import start_from_flags  # noqa: PLC0415
        from prefork.cli.serving import serve  # noqa: PLC0415

        return serve(start_from_flags(*service), head_start, starter)
    import click  # noqa: PLC0415  # 12 ms, inside the reach of Ctrl-C

    from prefork.cli.mistakes import translate_mistake  # noqa: PLC0415
    from prefork.cli.program import make_program  # noqa: PLC0415

    # Not program.main(): it answers Ctrl-C and a closed stdout in its own way, with its own exit codes.
    program = make_program()
    try:
        with program.make_context("prefork", list(arguments), obj=head_start) as context:
            return program.invoke(context) or 0
    except click.exceptions.Exit as ended:
        return ended.exit_code
    except click.ClickException as mistake:
        raise translate_mistake(mistake) from None


def _flush_stdout() -> None:
    stdout: TextIO | None = (
        sys.stdout
    )  # None if the descriptor was closed at the start, whatever its type says
    if stdout is not None:
        stdout.flush()


def _mute_stdout() -> None:
    # The interpreter flushes stdout once more when it ends, and would complain about the closed pipe again.
    with open(os.devnull, "wb") as nowhere:  # noqa: PTH123  # pathlib is not worth importing for this
        os.dup2(nowhere.fileno(), sys.stdout.fileno())

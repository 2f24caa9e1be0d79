"""`prefork stop [NAME] [--quick]`: returns when the service is gone, and says honestly whether it is."""

from __future__ import annotations

import os
import select
import sys

import click

from prefork.cli.asking import WITHOUT_NAME, NameArgument, ask_each, make_json_option, say
from prefork.cli.picking import pick_services
from prefork.control.client import ControlError, NotRunningError, Service, Talk
from prefork.control.requests import AskStop, Done, Stopping
from prefork.system import processes

MARGIN_S = 30.0
"""Beyond what the master itself allows its workers: SIGKILL may take the kernel a while."""
LEAVE_S = 10.0
"""Between the master's last word and the end of its process."""


def make_stop_command() -> click.Command:
    """The command."""
    return click.Command(
        "stop",
        callback=stop,
        params=[
            NameArgument(many=True),
            click.Option(["--quick"], is_flag=True, help="Do not wait for requests to be answered."),
            make_json_option(),
        ],
        help="Stop services, and wait until they are gone. Open requests are answered first.",
        epilog=WITHOUT_NAME,
        short_help="Stop services, and wait until they are gone.",
    )


def stop(*, names: tuple[str, ...], quick: bool, as_json: bool) -> int:
    """One after the other."""
    return ask_each(pick_services(names), lambda service: stop_one(service, quick=quick, as_json=as_json))


def stop_one(service: Service, *, quick: bool, as_json: bool) -> None:
    """Raises `ControlError` if it is not gone, or ended badly."""
    with Talk(service.path) as talk:
        # While it answers, its pid is its own: from here on the descriptor means this process and no later one.
        pidfd = processes.open_pidfd(talk.peer.pid) if talk.peer is not None and talk.peer.pid else None
        try:
            _ask_and_wait(talk, service, pidfd, quick=quick, is_told=not as_json)
        finally:
            if pidfd is not None:
                os.close(pidfd)
    say(service, "stopped", {"pid": service.status.pid}, as_json=as_json)


def _ask_and_wait(talk: Talk, service: Service, pidfd: int | None, *, quick: bool, is_told: bool) -> None:
    silence_s, is_done = MARGIN_S, False
    answers = talk.ask(AskStop(quick=quick), silence_s=None)
    try:
        while True:
            talk.silence_s = silence_s
            answer = next(answers, None)
            match answer:
                case Stopping():
                    silence_s = answer.patience_s + MARGIN_S
                    if is_told and answer.workers and sys.stdout.isatty():
                        plural = "" if answer.workers == 1 else "s"
                        print(f"{service.name}: stopping, {answer.workers} worker{plural} left", flush=True)
                case Done() | None:
                    is_done = True
                    break
    except NotRunningError:
        is_done = False
    if not _wait_until_gone(talk, pidfd):
        raise ControlError(
            f"{service.name} (pid {service.status.pid}) is still there",
            "prefork stop --quick ends it at once",
        )
    if not is_done:
        raise ControlError(
            f"{service.name} is gone, but it was killed before it had stopped", "its log may say more"
        )


def _wait_until_gone(talk: Talk, pidfd: int | None) -> bool:
    if pidfd is None:
        return talk.wait_until_closed(LEAVE_S)
    return bool(select.select([pidfd], [], [], LEAVE_S)[0])

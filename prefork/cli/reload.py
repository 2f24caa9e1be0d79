"""`prefork reload [NAME] [--wait]`: new code and configuration; with --wait, how it went."""

from __future__ import annotations

import sys

import click

from prefork.cli.asking import WITHOUT_NAME, NameArgument, ask_each, make_json_option, print_json, say
from prefork.cli.picking import pick_services
from prefork.control.client import Service, Talk
from prefork.control.requests import AskReload, Done, Progress

BAR = 24
SILENCE_S = 24 * 3600.0
"""Between two steps there may be a boot-timeout, a settle time, or another reload before ours: the master ends it."""


def make_reload_command() -> click.Command:
    """The command."""
    return click.Command(
        "reload",
        callback=reload,
        params=[NameArgument(many=True), make_wait_option(), make_json_option()],
        help="""Read the configuration and the code anew and replace the workers, without losing a request.

Returns as soon as the reload has begun, or with 78 if the configuration is refused. With --wait it shows how far the
reload is and exits with how it went: 0, 3 with the app's traceback if the new code does not start, 1 if it was taken
back for another reason. Whatever failed, the workers that served go on serving.
""",
        epilog=WITHOUT_NAME,
        short_help="New code and configuration, without losing a request.",
    )


def make_wait_option() -> click.Option:
    """`--wait`."""
    return click.Option(["--wait"], is_flag=True, help="Wait for the end, and exit with how it went.")


def reload(*, names: tuple[str, ...], wait: bool, as_json: bool) -> int:
    """One service after the other."""
    return ask_each(pick_services(names), lambda service: reload_one(service, wait=wait, as_json=as_json))


def reload_one(service: Service, *, wait: bool, as_json: bool) -> None:
    """Raises `ControlError` with what the master says."""
    bar = None if as_json else Bar(service.name)
    with Talk(service.path) as talk:
        try:
            for answer in talk.ask(AskReload(wait=wait), silence_s=SILENCE_S):
                match answer:
                    case Progress() if bar is not None:
                        bar.show(answer)
                    case Progress():
                        print_json({"name": service.name, **_name_fields(answer)})
                    case Done():
                        if bar is not None:
                            bar.end()
                        say(service, answer.message, answer.facts, as_json=as_json)
        except BaseException:
            if bar is not None:
                bar.end()
            raise


class Bar:
    """A line that is drawn over on a terminal; lines one after the other elsewhere."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._is_drawn = False

    def show(self, progress: Progress) -> None:
        """How far it is."""
        counted = f"{progress.moved}/{progress.of} {progress.stage}"
        if not sys.stdout.isatty():
            print(f"{self._name}: generation {progress.gen}: {counted}", flush=True)
            return
        full = BAR * progress.moved // max(1, progress.of)
        bar = "#" * full + "." * (BAR - full)
        sys.stdout.write(f"\r\x1b[K{self._name}: generation {progress.gen} [{bar}] {counted}")
        sys.stdout.flush()
        self._is_drawn = True

    def end(self) -> None:
        """What follows is a line of its own."""
        if self._is_drawn:
            sys.stdout.write("\n")
            self._is_drawn = False


def _name_fields(progress: Progress) -> dict[str, int | str]:
    return {"gen": progress.gen, "moved": progress.moved, "of": progress.of, "stage": progress.stage}

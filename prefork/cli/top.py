"""`prefork top [NAME …]`: services and their workers, live. Without a screen: one table with --once, JSON with --json.

rich is what it is drawn with. It is not installed with prefork (`pip install 'prefork[top]'`): no service needs it.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import threading
from contextlib import ExitStack

import click
import msgspec

from prefork.cli.asking import NameArgument
from prefork.config.kinds import show_duration
from prefork.config.values import RefusedValueError, parse_positive_duration
from prefork.errors import EXIT_OK, PreforkError, UsageError
from prefork.system.terminal import are_terminals, read_size
from prefork.top.once import Looker, Page
from prefork.top.reaching import Reach

SHORTEST_S = 0.1
WIDE = 160
"""Of a table that goes to a file."""
HELP = """Look at services and their workers while they run: requests, latencies, errors, CPU, memory.

\b
  prefork top                  all that run, and those that start meanwhile
  prefork top shop             one of them; keys reload, scale, restart, show logs
  prefork top --once           one table, for a file or a mail
  prefork top --json           an object a line, each second, for a program
\b
Needs rich (pip install 'prefork[top]'), except for --json.
"""


def make_top_command() -> click.Command:
    """The command."""
    return click.Command(
        "top",
        params=[
            NameArgument(many=True),
            click.Option(["--once", "is_once"], is_flag=True, help="Print one table and end."),
            click.Option(["--json", "as_json"], is_flag=True, help="Print JSON: an object a line."),
            click.Option(
                ["--interval"], default="1s", metavar="TIME", help="Look again so often. Default: 1s."
            ),
        ],
        callback=top,
        help=HELP,
        short_help="Look at services while they run.",
    )


def top(*, names: tuple[str, ...], is_once: bool, as_json: bool, interval: str) -> int:
    """Show what is asked for, until it has been seen."""
    interval_s = _parse_interval(interval)
    if not as_json:
        _require_rich()
        if not is_once:
            _require_terminal()
    reach = Reach(names, os.environ)
    if as_json or is_once:
        return _print(reach, interval_s, is_once=is_once, as_json=as_json)
    return _watch(reach, interval_s)


def _parse_interval(text: str) -> float:
    try:
        interval_s = parse_positive_duration(text)
    except RefusedValueError as error:
        raise UsageError(f"--interval {text}: {error.message}", *error.hints) from None
    if interval_s < SHORTEST_S:
        raise UsageError(f"--interval {text}: less than {show_duration(SHORTEST_S)}")
    return interval_s


def _require_rich() -> None:
    if importlib.util.find_spec("rich") is None:
        raise PreforkError("prefork top needs rich: pip install 'prefork[top]'")


def _require_terminal() -> None:
    if not are_terminals() or os.environ.get("TERM", "dumb") == "dumb":
        raise UsageError(
            "prefork top needs a terminal to draw on",
            "prefork top --once prints one table, prefork top --json an object a second",
        )


def _print(reach: Reach, interval_s: float, *, is_once: bool, as_json: bool) -> int:
    with ExitStack() as closing:
        looker = Looker(reach.names, reach.connect, reach.find_new, closing)
        looker.look()  # what the rates are compared with
        while True:
            threading.Event().wait(interval_s)
            page = looker.look()
            print(msgspec.json.encode(page).decode() if as_json else _draw(page), flush=True)
            if is_once:
                return EXIT_OK


def _draw(page: Page) -> str:
    from prefork.top.curves import choose_glyphs  # noqa: PLC0415  # rich: only where something is drawn
    from prefork.top.drawing import draw_page  # noqa: PLC0415
    from prefork.top.once import show_page  # noqa: PLC0415

    width = read_size((int(os.environ.get("COLUMNS") or WIDE), 0))[0]
    lines = draw_page(show_page(page), width, choose_glyphs(sys.stdout.encoding))
    return "\n".join(line.plain for line in lines)


def _watch(reach: Reach, interval_s: float) -> int:
    from prefork.top.curves import choose_glyphs  # noqa: PLC0415  # rich: only where something is drawn
    from prefork.top.feed import Feeds  # noqa: PLC0415
    from prefork.top.gathering import Gathered, Mailbox  # noqa: PLC0415
    from prefork.top.logs import show_logs  # noqa: PLC0415
    from prefork.top.operating import Operator  # noqa: PLC0415
    from prefork.top.session import Session  # noqa: PLC0415

    mailbox = Mailbox()
    feeds = Feeds(reach.connect, mailbox, interval_s)
    operator = Operator(reach.connect, mailbox, feeds.poke)
    session = Session(Gathered(reach.names), mailbox, operator, show_logs, choose_glyphs(sys.stdout.encoding))
    with ExitStack() as closing:
        closing.callback(mailbox.close)
        closing.callback(feeds.stop)
        feeds.start(reach.names, reach.find_new)
        return session.run()

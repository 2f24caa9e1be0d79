"""`prefork events [NAME] [-f]`: what has happened to a service lately, and what happens now."""

from __future__ import annotations

import time

import click
import msgspec

from prefork.cli.asking import WITHOUT_NAME, NameArgument, make_json_option, print_json
from prefork.cli.picking import pick_service
from prefork.control.client import Talk
from prefork.control.requests import AskEvents, Event, Missed
from prefork.system.log_lines import escape, show_fields

DETAIL_LINES = 40


def make_events_command() -> click.Command:
    """The command."""
    return click.Command(
        "events",
        callback=show_events,
        params=[
            NameArgument(many=False),
            click.Option(["--follow", "-f"], is_flag=True, help="Go on with what happens from now on."),
            make_json_option(),
        ],
        help="Show the last 200 lines of the master's log, whatever --log-level writes and wherever the log goes.",
        epilog=WITHOUT_NAME,
        short_help="Show what has happened lately.",
    )


def show_events(*, name: str | None, follow: bool, as_json: bool) -> int:
    """Print each as a line."""
    service = pick_service(name)
    with Talk(service.path) as talk:
        for answer in talk.ask(AskEvents(follow=follow), silence_s=None):
            match answer:
                case Event() if as_json:
                    print_json(msgspec.to_builtins(answer))
                case Event():
                    print("\n".join(write_event(answer)), flush=True)
                case Missed() if as_json:
                    print_json(msgspec.to_builtins(answer))
                case Missed():
                    print(f"({answer.count} events missed)", flush=True)
    return 0


def write_event(event: Event) -> list[str]:
    """Time, level and event as the log has them, then the detail."""
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(event.time))
    said = {key: value for key, value in event.fields.items() if value is not None}
    lines = [f"{when} {event.level.upper():<7} {escape(event.event)}{show_fields(said)}"]
    return lines + [f"  {escape(line)}" for line in event.detail.splitlines()[:DETAIL_LINES]]

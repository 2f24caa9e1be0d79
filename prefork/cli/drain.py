"""`prefork drain` and `undrain`: out of the load balancers and back, while the service goes on serving."""

from __future__ import annotations

from functools import partial

import click

from prefork.cli.asking import WITHOUT_NAME, NameArgument, ask_each, make_json_option, say
from prefork.cli.picking import pick_services
from prefork.control.client import Service, ask
from prefork.control.requests import AskDrain


def make_drain_command() -> click.Command:
    """The command."""
    return click.Command(
        "drain",
        callback=partial(set_drained, drained=True),
        params=[NameArgument(many=True), make_json_option()],
        help="Tell load balancers to look elsewhere (/readyz: 503), and go on serving whoever comes. undrain ends it.",
        epilog=WITHOUT_NAME,
        short_help="Leave the load balancers, and go on serving.",
    )


def make_undrain_command() -> click.Command:
    """The command."""
    return click.Command(
        "undrain",
        callback=partial(set_drained, drained=False),
        params=[NameArgument(many=True), make_json_option()],
        help="Come back to the load balancers after drain.",
        epilog=WITHOUT_NAME,
        short_help="Come back to the load balancers.",
    )


def set_drained(*, names: tuple[str, ...], as_json: bool, drained: bool) -> int:
    """One service after the other."""

    def act(service: Service) -> None:
        done = ask(service.path, AskDrain(drained=drained))
        say(service, done.message, {"is_drained": drained}, as_json=as_json)

    return ask_each(pick_services(names), act)

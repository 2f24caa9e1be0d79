"""Flags → a command line that gives them again."""

from __future__ import annotations

import click

from prefork.cli.arguments import find_secrets, write_arguments
from prefork.cli.parameters import pick_given
from prefork.cli.run import make_run_command

TYPED = [
    "main:app", "-c", "shop.toml", "--profile", "production", "-i", "-1", "-b", ":80", "-b", "unix:x.sock",
    "--reload", "--no-date-header", "--no-access-log", "-e", "A=1", "--ssl-keyfile-password", "x",
]  # fmt: skip


def parse(words: list[str]) -> tuple[str, dict[str, object]]:
    with click.Context(make_run_command()) as context:
        context.command.parse_args(context, list(words))
        return context.params.pop("app"), pick_given(context.params)


def test_what_is_written_means_what_was_typed() -> None:
    app, given = parse(TYPED)
    assert len(given) == 9
    assert parse(list(write_arguments(app, given))) == (app, given)


def test_values_of_the_environment_and_passwords_are_known_as_secrets() -> None:
    _, given = parse(TYPED)
    assert set(find_secrets(given)) == {"env", "ssl-keyfile-password"}
    assert find_secrets({"config": "x", "workers": "2", "env-file": (".env",)}) == ()

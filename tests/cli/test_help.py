"""What `--help` says of the options."""

from __future__ import annotations

import re

from click.testing import CliRunner

from prefork.cli.asking import WITHOUT_NAME
from prefork.cli.program import make_program
from prefork.cli.run import make_run_command
from prefork.config.options import NAMES


def show_help(columns: int) -> str:
    return CliRunner().invoke(make_run_command(), ["--help"], terminal_width=columns).output


def test_names_are_never_divided_at_the_end_of_a_line() -> None:
    for columns in (60, 80, 110):
        shown = show_help(columns)
        words = set(re.findall(r"--(?:\[no-\])?([a-z-]+)", shown))
        assert words >= set(NAMES) - {"app"}
        assert not [line for line in shown.splitlines() if re.search(r"[a-z]-$", line)]
        assert max(map(len, shown.splitlines())) <= max(columns, 90)


def test_a_switch_that_is_on_and_values_are_shown_as_one_writes_them() -> None:
    shown = " ".join(show_help(110).split())
    assert "--[no-]server-header Whether responses say `server: prefork`. [default on]" in shown
    assert "--factory Call" in shown
    assert "[default 16M; also --websocket-max-message-size]" in shown
    assert "--balance shared|round-robin|least-connections|ip-hash|MODULE:FUNCTION" in shown


def test_every_command_for_running_services_says_which_one_is_meant_without_a_name() -> None:
    program = make_program()
    with program.make_context("prefork", ["--help"], resilient_parsing=True) as context:
        for word in [
            "status",
            "describe",
            "reload",
            "restart",
            "scale",
            "stop",
            "drain",
            "undrain",
            "events",
            "stacks",
        ]:
            command = program.get_command(context, word)
            assert command is not None
            assert command.epilog == WITHOUT_NAME, word

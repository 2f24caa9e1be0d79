"""Words that are cut without click mean what click says they mean; whatever click would refuse is left to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from prefork.cli.cutting import cut_service_words
from prefork.cli.parameters import pick_given
from prefork.cli.program import make_program
from prefork.config.options import NAMES

VALUES = st.sampled_from(["4", "max", "k=v", "", "5s", "x y", "-1", "--reload", "unix:/run/a.sock"])
FLAGS = [f"--{name}" for name in NAMES] + [name.short for name in NAMES.values() if name.short]
WORDS = st.one_of(
    st.sampled_from(["main:app", "run", "app.py", "check", "a", "--", "-", "--help", "-h", "--no", "-c", "--config"]),
    st.sampled_from(FLAGS),
    st.sampled_from(FLAGS).map(lambda flag: flag.replace("-", "_").replace("__", "--", 1)),
    st.sampled_from(FLAGS).map(lambda flag: flag.replace("--", "--no-", 1)),
    st.builds(lambda flag, value: f"{flag}={value}", st.sampled_from(FLAGS), VALUES),
    st.builds(lambda flag, value: f"{flag}{value}", st.sampled_from(["-w", "-b", "-k"]), VALUES),
    VALUES,
)  # fmt: skip


@given(st.lists(WORDS, max_size=6))
@example(["main:app", "-w4", "--bind=:80", "-b", "unix:/run/a.sock", "--reload", "--no-date-header"])
@example(["run", "main:app", "--worker_class", "sync"])
@example(["main:app", "--workers"])
@example(["-w", "--help", "main:app"])
def test_what_is_cut_here_is_what_click_makes_of_it(words: list[str]) -> None:
    found = cut_service_words(words)
    if found is not None:
        assert found == ask_click(words)


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["run"],
        ["main:app"],
        ["run", "main:app", "--workers", "4", "-b", "127.0.0.1:0", "--bind=:80"],
        ["-w4", "shop/main.py", "--no-date-header"],
        ["run", "shop", "--profile", "production"],
        ["main:app", "--config", "a.toml", "--worker_class=sync"],
    ],
)
def test_a_usual_command_line_does_without_click(words: list[str]) -> None:
    assert cut_service_words(words) == ask_click(words)


@pytest.mark.parametrize(
    "words",
    [["ls"], ["check", "main:app"], ["main:app", "other:app"], ["main:app", "--no-such"], ["main:app", "-w"]],
)  # fmt: skip
def test_the_unusual_is_left_to_click(words: list[str]) -> None:
    assert cut_service_words(words) is None


def ask_click(words: Sequence[str]) -> tuple[Any, dict[str, Any]]:
    """The app and the flags as `prefork run` has them."""
    program, seen = make_program(), list[dict[str, Any]]()
    run = program.get_command(click.Context(program), "run")
    assert run is not None
    run.callback = lambda **parameters: seen.append(parameters)
    program.add_command(run)
    with program.make_context("prefork", list(words)) as context:
        program.invoke(context)
    (parameters,) = seen
    return parameters.pop("app"), pick_given(parameters)

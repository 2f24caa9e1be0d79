"""The app's side of `prefork`: what is registered stays, what is said outside a worker does nothing."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest

import prefork
from prefork import inside
from prefork.inside import AppSide
from tests.system.children import run_python


class FakeOutlet:
    """Takes everything down."""

    def __init__(self) -> None:
        self.said: list[object] = []

    def tell_ready(self) -> bool:
        self.said.append("ready")
        return True

    def retire(self, reason: str) -> bool:
        self.said.append(("retire", reason))
        return True

    def send(self, message: object, to: int | None) -> bool:
        self.said.append(("send", message, to))
        return True


@pytest.fixture
def side(monkeypatch: pytest.MonkeyPatch) -> AppSide:
    side = AppSide()
    monkeypatch.setattr(inside, "app_side", side)
    return side


@pytest.mark.usefixtures("side")
def test_outside_a_worker_nothing_happens() -> None:
    assert [prefork.ready(), prefork.retire("old"), prefork.send(object()), prefork.send({}, to=1)] == [
        False
    ] * 4


def test_in_a_worker_every_word_reaches_the_outlet(side: AppSide) -> None:
    outlet = FakeOutlet()
    side.plug_in(outlet)

    assert [prefork.ready(), prefork.retire("old"), prefork.send(1), prefork.send(2, to=0)] == [True] * 4
    assert outlet.said == ["ready", ("retire", "old"), ("send", 1, None), ("send", 2, 0)]


def test_what_was_said_ready_while_it_was_imported_counts_for_every_fork(side: AppSide) -> None:
    prefork.ready()
    first, second = FakeOutlet(), FakeOutlet()
    side.plug_in(first)
    side.plug_in(second)
    assert (first.said, second.said) == (["ready"], ["ready"])


def test_hooks_and_handlers_are_kept_in_order_and_given_back_as_they_are(side: AppSide) -> None:
    class Hook:
        def __call__(self, reason: str, deadline: float) -> None: ...

        def method(self, reason: str, deadline: float = 0) -> None: ...

    def with_three(more: int, reason: str, deadline: float) -> None: ...

    async def later(reason: str, deadline: float) -> None: ...

    hook = Hook()
    given: list[Any] = [
        hook,
        hook.method,
        functools.partial(with_three, 1),
        later,
        lambda *_arguments: None,
        max,
    ]
    assert [prefork.on_shutdown(function) for function in given] == given
    assert side.hooks == given

    @prefork.on_worker_start
    def begun(here: int = 0) -> None: ...

    assert side.starters == [begun]

    @prefork.on_message
    def heard(message: object, sender: int) -> None: ...

    assert side.listeners == [heard]


@pytest.mark.parametrize("register", [prefork.on_shutdown, prefork.on_message])
def test_what_cannot_be_called_with_two_arguments_is_refused_at_once(
    side: AppSide, register: Callable[[Any], object]
) -> None:
    def one(reason: str) -> None: ...

    def keyword(reason: str, deadline: float, *, needed: int) -> None: ...

    def three(a: int, b: int, c: int) -> None: ...

    name = register.__name__
    for function in (one, keyword, three, lambda: None):
        with pytest.raises(TypeError, match=rf"^{name}: .* is called with \(\w+, \w+\): "):
            register(function)
    for thing in (None, "close", 3):
        with pytest.raises(TypeError, match=f"^{name} needs a function to call with"):
            register(thing)
    assert side.hooks == side.listeners == []


def test_what_needs_an_argument_is_no_start_hook(side: AppSide) -> None:
    def one(worker: object) -> None: ...

    with pytest.raises(TypeError, match=r"^on_worker_start: .* is called with \(\): "):
        prefork.on_worker_start(one)  # type: ignore[type-var]  # the mistake
    assert side.starters == []


def test_importing_prefork_imports_next_to_nothing() -> None:
    code = "import sys; before = set(sys.modules); import prefork; print(*sorted(set(sys.modules) - before))"
    assert run_python(code).split() == ["__future__", "prefork"]
    assert (
        "prefork.inside" in run_python(code.replace("import prefork;", "from prefork import send;")).split()
    )
    with pytest.raises(AttributeError, match="no attribute 'sned'"):
        prefork.__getattr__("sned")

"""What the chooser makes of a strategy: every client gets an answer, whatever the strategy does."""

from __future__ import annotations

import selectors
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from prefork.chooser.main import choose, try_out
from prefork.core.balance import Candidate
from prefork.errors import AppError
from prefork.ipc import messages as say
from prefork.ipc.codec import encode, read_from_chooser
from prefork.system import processes
from prefork.system.spawning import spawn_chooser
from tests.serve.accepting import DEADLINE_S

CODE = """
def fewest(candidates, address):
    if address == "bad":
        raise LookupError("no such client")
    if address == "worse":
        raise SystemExit(7)
    if address == "other":
        return object()
    return min(candidates, key=lambda candidate: (candidate.connections, candidate.turn))
"""


@pytest.fixture
def talk(tmp_path: Path) -> Iterator[Callable[[say.Message], say.Message]]:
    """A chooser in a process of its own; tell it something and hear its answer."""
    (tmp_path / "strategy_of_a_test.py").write_text(CODE)
    spawned, reader = spawn_chooser(), read_from_chooser()

    def tell(message: say.Message) -> say.Message:
        spawned.channel.send(encode(message))
        with selectors.DefaultSelector() as selector:
            selector.register(spawned.channel, selectors.EVENT_READ)
            while selector.select(DEADLINE_S):
                data = spawned.channel.receive()
                assert data, "it ended"
                if heard := reader.feed(data):
                    return heard[0]
        raise AssertionError("no answer")

    yield tell
    spawned.channel.close()
    processes.wait_for_end(spawned.pid)  # with its master


def load(tmp_path: Path, function: str) -> say.LoadStrategy:
    return say.LoadStrategy(f"strategy_of_a_test:{function}", "t", str(tmp_path), str(tmp_path), None, None)


def test_each_choice_knows_of_those_before_it(
    talk: Callable[[say.Message], say.Message], tmp_path: Path
) -> None:
    assert talk(load(tmp_path, "fewest")) == say.StrategyLoaded()
    candidates = ((0, 10, 2, 0, 9), (1, 11, 0, 0, 8), (2, 12, 1, 0, 7))
    assert talk(say.Choose(4, candidates, ("",) * 5)) == say.Chosen(4, (11, 12, 11, 10, 12))


def test_where_it_raises_or_chooses_nobody_the_others_are_still_answered(
    talk: Callable[[say.Message], say.Message], tmp_path: Path
) -> None:
    assert talk(load(tmp_path, "fewest")) == say.StrategyLoaded()
    question = say.Choose(5, ((0, 10, 0, 0, 0),), ("bad", "a", "worse", "other", "b"))
    assert talk(question) == say.Chosen(5, (None, 10, None, None, 10), "LookupError: no such client")


def test_one_that_is_not_there_is_refused_by_name(
    talk: Callable[[say.Message], say.Message], tmp_path: Path
) -> None:
    refused = talk(load(tmp_path, "fewes"))
    assert isinstance(refused, say.StrategyRefused)
    assert refused.message.startswith('no attribute "fewes" in strategy_of_a_test')


def exits(_candidates: Sequence[Candidate], _address: str) -> Candidate:
    raise SystemExit(3)


@pytest.mark.parametrize("strategy", [exits, lambda: None, lambda *_: None, lambda *_: Candidate(0, 1)])
def test_on_trial_it_must_choose_one_of_the_candidates(strategy: Callable[..., object]) -> None:
    with pytest.raises(AppError, match="shop:choose is no strategy"):
        try_out(strategy, "shop:choose")


def test_a_good_one_is_taken_at_its_word() -> None:
    candidates = [Candidate(0, 1), Candidate(1, 2)]
    assert choose(lambda found, _: found[1], candidates, "") is candidates[1]

"""The screen at every size."""

from __future__ import annotations

import itertools
import re

import pytest

from prefork.control.status import RolloutStatus, SlotStatus
from prefork.top.columns import COLUMNS, cut, lay_out
from prefork.top.curves import ASCII, BLOCKS, Glyphs
from prefork.top.drawing import HELP, Size, draw_page, draw_screen
from prefork.top.history import History
from prefork.top.seen import Event, Seen
from prefork.top.session import render
from prefork.top.watching import Question, Reload, Watching, press
from tests.top.looks import count_latency, make_look, make_status, make_worker

WIDE_WHY = "キャッシュ\x1b[31m is poisoned " * 5


def see(name: str = "shop", slots: int = 4, **fields: object) -> Seen:
    history = History()
    for second in (1, 2, 3):
        workers = [
            make_worker(
                slot,
                requests=second * 100 * (slot + 1),
                latency=count_latency(b12=second * 100),
                why=WIDE_WHY,
            )
            for slot in range(slots)
        ]
        rates = history.add(make_look(float(second), make_status(*workers, name=name, **fields)))
    events = [Event(1e9 + number, f"event {number} " + WIDE_WHY) for number in range(30)]
    return Seen(name, rates, "", history.requests_per_s, history.p99_s, events)


def draw(
    *services: Seen,
    width: int = 80,
    height: int = 24,
    watching: Watching | None = None,
    glyphs: Glyphs = BLOCKS,
) -> list[str]:
    lines = draw_screen(services, watching or Watching(), Size(width, height), glyphs, 0.0)
    return [line.plain for line in lines]


@pytest.mark.parametrize(
    ("width", "height"), list(itertools.product((1, 20, 79, 80, 160), (1, 5, 12, 24, 50)))
)
def test_no_line_is_wider_than_the_terminal_and_none_is_missing(width: int, height: int) -> None:
    one = see(slots=12, rollout=RolloutStatus(gen=2, moved=1, of=4, stage="rolling", started_s=3))
    asking = Watching(question=Question("really? " * 30, Reload("shop")))
    for services, watching in (
        ([one], Watching()),
        ([one, see("blog"), Seen("api", None, "gone " * 40)], Watching()),
        ([Seen("shop")], Watching(is_helping=True)),
        ([one], asking),
        ([one], Watching(notice="told " * 50, notice_until=1.0)),
    ):
        lines = draw_screen(services, watching, Size(width, height), BLOCKS, 0.0)
        assert len(lines) == height
        assert max(line.cell_len for line in lines) <= width


def test_the_normal_terminal_shows_what_one_looks_for() -> None:
    screen = "\n".join(draw(see()))

    for expected in ("shop serving", "workers 4/4", "127.0.0.1:8000", "req/s 1000", "p50 ", "p95 ", "p99 ", "5xx/s 0",
                     "in-flight 0", "queue 0", "connections 0", "memory", "cpu", "events", "q quit"):  # fmt: skip
        assert expected in screen
    heading = next(line for line in draw(see()) if "SLOT" in line)
    assert heading.split() == [column.title for column in COLUMNS if column.title not in ("P50", "REASON")]
    assert [line.split()[4] for line in draw(see()) if re.search(r"\d +ready ", line)][1:] == ["0%"] * 3


def test_a_wide_terminal_has_every_column() -> None:
    heading = next(line for line in draw(see(), width=160, height=50) if "SLOT" in line)

    assert heading.split() == [column.title for column in COLUMNS]


def test_columns_go_one_after_the_other_when_it_gets_narrower() -> None:
    workers = see().rates
    assert workers is not None
    shown = [len(lay_out(workers.workers, width, BLOCKS).columns) for width in range(160, 0, -1)]
    by_rank = sorted(COLUMNS, key=lambda column: -column.rank)

    assert shown[0] == len(COLUMNS)
    assert shown == sorted(shown, reverse=True)
    for width in range(1, 160):
        table = lay_out(workers.workers, width, BLOCKS)
        assert set(table.columns) == set(by_rank[: len(table.columns)])


def test_many_workers_scroll_with_the_selection() -> None:
    services = [see(slots=40)]
    watching, _ = press(Watching(), "end", services, 10)

    screen = draw(*services, watching=watching)

    assert any(re.match(r"▶ +39 ", line) for line in screen)
    assert "of 40" in next(line for line in screen if "SLOT" in line)
    assert "events" in screen  # they keep their few lines
    assert not any(re.match(r"[▶ ] +0 ", line) for line in screen)


def test_a_reload_has_a_bar_that_says_its_numbers_too() -> None:
    rolling = see(rollout=RolloutStatus(gen=2, moved=1, of=4, stage="rolling", started_s=3.0))

    line = next(line for line in draw(rolling) if line.startswith("reload"))

    assert re.fullmatch(r"reload █+░+ 1/4   gen 2   rolling   3s", line.rstrip())


def test_a_failed_reload_is_told() -> None:
    assert "last reload failed: no module named x" in draw(see(last_reload="no module named x"))


def test_an_empty_slot_says_why_in_place_of_numbers() -> None:
    slots = (
        SlotStatus(index=0, state="filled"),
        SlotStatus(index=1, state="backoff", last_reason="exit 1", retry_in_s=2),
    )

    screen = draw(see_with_slots(slots))

    assert any("backoff" in line and "retry in 2 s, exit 1" in line for line in screen)


def see_with_slots(slots: tuple[SlotStatus, ...]) -> Seen:
    history = History()
    return Seen("shop", history.add(make_look(0.0, make_status(make_worker(0), slots=slots))))


def test_who_does_not_answer_is_said_to_be_gone() -> None:
    seen = see()
    gone = Seen(
        "shop", seen.rates, "it has ended; waiting for it", seen.requests_per_s, seen.p99_s, seen.events
    )

    screen = "\n".join(draw(gone))

    assert "shop no answer" in screen
    assert "it has ended; waiting for it" in screen
    assert "ready" not in screen  # its workers are not shown as if they were there


def test_several_services_have_a_line_each_above_their_workers() -> None:
    screen = draw(see("shop", 1), see("blog", 2), width=120)

    assert [line.split()[0] for line in screen if "serving" in line] == ["▶", "blog"]
    assert len([line for line in screen if re.search(r"\d +ready ", line)]) == 3
    assert any("blog: event 29" in line for line in screen)


def test_what_an_app_says_moves_no_cursor() -> None:
    assert cut("red \x1b[31m\n\x07", 40, BLOCKS) == "red ?[31m??"
    assert "\x1b" not in "".join(draw(see(), width=160, height=50))


def test_without_blocks_every_character_is_ascii() -> None:
    plain = Seen(
        "shop", see_with_slots((SlotStatus(index=0, state="filled"),)).rates, "", [1.0, 2.0], [0.1], []
    )

    assert "".join(draw(plain, glyphs=ASCII)).isascii()


def test_nothing_is_said_by_colour_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    lines = draw_screen([see()], Watching(), Size(80, 24), BLOCKS, 0.0)

    rendered = "".join(render(lines, 80))

    # Bold, dim and reversed are left, no colour is.
    assert set(re.findall(r"\x1b\[([\d;]*)m", rendered)) <= {"0", "1", "2", "7"}


def test_the_help_fits_on_the_normal_terminal() -> None:
    screen = draw(see(), watching=Watching(is_helping=True))

    assert max(map(len, HELP)) < 80
    assert "any key leads back" in screen


def test_a_page_ends_where_there_is_no_more_to_say() -> None:
    lines = [line.plain for line in draw_page([see(slots=40)], 160, BLOCKS)]

    assert len([line for line in lines if " ready " in line]) == 40
    assert lines == [line.rstrip() for line in lines]
    assert not any("▶" in line for line in lines)

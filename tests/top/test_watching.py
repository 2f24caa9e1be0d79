"""What a key does."""

from __future__ import annotations

from prefork.control.status import SlotStatus
from prefork.top.rates import compare
from prefork.top.seen import Seen, list_rows
from prefork.top.watching import (
    Order,
    Quit,
    Reload,
    Restart,
    Scale,
    ShowLogs,
    Watching,
    find_selected,
    pick_shown,
    press,
)
from tests.top.looks import make_look, make_status, make_worker


def see(name: str = "shop", slots: int = 3, *, first_serial: int = 1) -> Seen:
    workers = [make_worker(slot, serial=first_serial + slot) for slot in range(slots)]
    return Seen(name, compare(None, make_look(0.0, make_status(*workers, name=name))))


def type_keys(
    *keys: str, services: list[Seen], watching: Watching | None = None
) -> tuple[Watching, list[Order]]:
    watching, orders = watching or Watching(), []
    for key in keys:
        watching, order = press(watching, key, services, 2)
        orders += [order] if order is not None else []
    return watching, orders


def test_a_reload_is_asked_about_first() -> None:
    watching, orders = type_keys("r", services=[see()])
    assert orders == []
    assert watching.question is not None
    assert "reload shop" in watching.question.text

    assert type_keys("y", services=[see()], watching=watching)[1] == [Reload("shop")]


def test_any_other_answer_than_yes_is_no_and_does_nothing_else() -> None:
    for answer in ("n", "q", "escape", "enter", "r", "+"):
        watching, orders = type_keys("r", answer, services=[see()])
        assert (watching.question, orders) == (None, [])


def test_a_restart_names_the_process_that_was_asked_about() -> None:
    watching, _ = type_keys("down", "k", services=[see()])

    # While the question stands, somebody else takes the slot.
    later = [see(first_serial=50)]
    assert type_keys("y", services=later, watching=watching)[1] == [Restart("shop", 1, 1001)]


def test_scaling_and_quitting_ask_nothing() -> None:
    assert type_keys("+", "-", "q", services=[see()])[1] == [Scale("shop", 1), Scale("shop", -1), Quit()]


def test_the_log_is_that_of_the_selected_worker() -> None:
    assert type_keys("end", "l", services=[see()])[1] == [ShowLogs("shop", 2)]


def test_the_selection_stays_within_the_rows() -> None:
    services = [see(slots=3)]
    for keys, slot in (
        (["up"], 0),
        (["down", "down", "down", "down"], 2),
        (["pagedown", "pagedown"], 2),
        (["end", "home"], 0),
        (["pagedown", "pageup"], 0),
    ):
        watching, _ = type_keys(*keys, services=services)
        assert watching.selected is not None
        assert watching.selected[1] == slot


def test_when_a_worker_is_replaced_its_successor_is_selected() -> None:
    watching, _ = type_keys("down", services=[see()])

    row = find_selected(watching, list_rows([see(first_serial=50)]))

    assert row is not None
    assert row.worker is not None
    assert (row.worker.slot, row.worker.serial) == (1, 51)


def test_who_is_gone_can_be_ordered_nothing_that_needs_a_worker() -> None:
    vacant = make_status(
        slots=(SlotStatus(index=0, state="failed"),), workers=(), totals=make_status(make_worker(0)).totals
    )
    services = [Seen("shop", compare(None, make_look(0.0, vacant)))]

    watching, orders = type_keys("k", services=services)

    assert (watching.question, orders) == (None, [])
    assert type_keys("+", "r", "y", services=[Seen("shop")])[1] == []


def test_of_several_services_the_selected_row_says_which_is_meant() -> None:
    services = [see("shop", 1), see("blog", 1)]

    assert type_keys("r", "y", "down", "down", "+", services=services)[1] == [
        Reload("shop"),
        Scale("blog", 1),
    ]


def test_enter_shows_one_service_and_escape_all_again() -> None:
    services = [see("shop", 1), see("blog", 1)]

    watching, _ = type_keys("end", "enter", services=services)
    assert [seen.name for seen in pick_shown(watching, services)] == ["blog"]

    watching, _ = type_keys("escape", services=services, watching=watching)
    assert len(pick_shown(watching, services)) == 2


def test_help_goes_with_any_key() -> None:
    watching, _ = type_keys("?", services=[see()])
    assert watching.is_helping

    watching, orders = type_keys("r", services=[see()], watching=watching)
    assert (watching.is_helping, watching.question, orders) == (False, None, [])

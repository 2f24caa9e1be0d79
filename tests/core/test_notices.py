"""The service manager hears each change once, in order, and nothing that is not true any more."""

from __future__ import annotations

from prefork.core.notices import CHANGED_S, EXTEND_EVERY_S, STATUS_S, Facts, Figures, Kind, Notices
from prefork.core.states import ServiceState

STARTING = Facts(ServiceState.STARTING, wanted=2, patience_s=60.0)
HALF = Facts(ServiceState.STARTING, is_ready=True, ready=1, workers=2, wanted=2, patience_s=60.0)
SERVING = Facts(ServiceState.SERVING, is_ready=True, ready=2, workers=2, wanted=2)
RELOADING = Facts(
    ServiceState.RELOADING, is_ready=True, is_reloading=True, ready=3, workers=3, wanted=2, patience_s=1e9
)
STOPPING = Facts(ServiceState.STOPPING, is_ready=True, workers=2, wanted=2, patience_s=45.0)
IDLE = Figures(0, 0)


def tell(notices: Notices, facts: Facts, now: float, figures: Figures | None = None) -> list[str]:
    """All but requests for more time."""
    due = list(notices.list_due(facts, now, figures))
    return [notice.text for notice in due if notice.kind is not Kind.EXTEND]


def asks_for_more_time(notices: Notices, facts: Facts, now: float) -> bool:
    return "EXTEND_TIMEOUT_USEC=20000000" in [notice.text for notice in notices.list_due(facts, now)]


def make_served(watchdog_s: float = 0.0) -> Notices:
    notices = Notices(0.0, 77, watchdog_s)
    assert tell(notices, SERVING, 0.0)[0] == "READY=1\nMAINPID=77"
    return notices


def test_a_life_is_told_in_order_and_each_change_once() -> None:
    notices = Notices(1.0, 77, 0.0)
    told = [tell(notices, facts, 1.0) for facts in (STARTING, STARTING, HALF, SERVING, SERVING)]
    assert told == [[], [], ["READY=1\nMAINPID=77"], [], []]

    notices.note_reload()
    told = [tell(notices, facts, 2.5) for facts in (RELOADING, RELOADING, SERVING, SERVING)]
    assert told == [["RELOADING=1\nMONOTONIC_USEC=2500000"], [], ["READY=1"], []]

    assert [tell(notices, STOPPING, 3.0) for _ in range(2)] == [["STOPPING=1"], []]


def test_a_reload_that_is_refused_has_a_beginning_and_an_end() -> None:
    notices = make_served()
    notices.note_reload()
    assert tell(notices, SERVING, 1.0) == ["RELOADING=1\nMONOTONIC_USEC=1000000", "READY=1"]


def test_a_reload_that_nobody_asked_for_is_told_too() -> None:
    notices = make_served()  # the watcher's, or one that was queued
    assert tell(notices, RELOADING, 1.0) == ["RELOADING=1\nMONOTONIC_USEC=1000000"]


def test_a_second_request_is_confirmed_while_the_first_is_under_way() -> None:
    notices = make_served()
    assert tell(notices, RELOADING, 1.0) == ["RELOADING=1\nMONOTONIC_USEC=1000000"]
    notices.note_reload()
    assert tell(notices, RELOADING, 2.0) == ["RELOADING=1\nMONOTONIC_USEC=2000000"]
    assert tell(notices, SERVING, 3.0) == ["READY=1"]


def test_a_reload_asked_for_before_the_service_is_ready_is_part_of_its_start() -> None:
    notices = Notices(0.0, 77, 0.0)
    notices.note_reload()
    assert tell(notices, STARTING, 1.0) == []
    assert tell(notices, SERVING, 2.0) == ["READY=1\nMAINPID=77"]


def test_a_stop_ends_a_reload() -> None:
    notices = make_served()
    notices.note_reload()
    assert tell(notices, STOPPING, 1.0) == ["STOPPING=1"]


def test_what_could_not_be_delivered_is_due_again_and_nothing_overtakes_it() -> None:
    notices = Notices(0.0, 77, 10.0)
    for now in (1.0, 2.0):
        undelivered = next(notices.list_due(SERVING, now))
        assert undelivered.kind is Kind.READY
    assert tell(notices, SERVING, 3.0) == ["READY=1\nMAINPID=77", "WATCHDOG=1"]


def test_a_notice_that_has_become_wrong_is_not_sent_late() -> None:
    notices = make_served()
    next(notices.list_due(RELOADING, 1.0))  # the manager was not there
    assert tell(notices, SERVING, 9.0) == []


def test_a_sign_of_life_is_given_twice_in_the_manager_s_patience() -> None:
    notices = make_served(watchdog_s=3.0)
    given = [now / 10 for now in range(1, 61) if "WATCHDOG=1" in tell(notices, SERVING, now / 10)]
    assert given == [1.5, 3.0, 4.5, 6.0]
    assert notices.next_deadline(SERVING, 6.0) <= 7.5


def test_without_a_watchdog_there_is_no_sign_of_life() -> None:
    notices = make_served()
    assert all("WATCHDOG=1" not in tell(notices, SERVING, float(now)) for now in range(100))


def test_more_time_is_asked_for_at_once_and_while_something_takes_long_and_no_longer_than_it_may() -> None:
    for facts in (STARTING, STOPPING):
        notices = Notices(0.0, 77, 0.0)
        asked = [now for now in range(200) if asks_for_more_time(notices, facts, float(now))]
        assert asked == list(range(0, int(facts.patience_s) + 1, 5))
    notices = make_served()
    assert not asks_for_more_time(notices, SERVING, EXTEND_EVERY_S * 3)
    assert asks_for_more_time(notices, RELOADING, EXTEND_EVERY_S * 3)


def test_figures_are_told_when_they_differ_and_seldom() -> None:
    notices = make_served()
    at = CHANGED_S
    assert not notices.wants_figures(at - 0.01)
    assert notices.wants_figures(at)
    assert tell(notices, SERVING, at, IDLE) == ["STATUS=2 of 2 workers ready, 0 requests/s, 0 in flight"]
    assert not notices.wants_figures(at + STATUS_S - 0.01)
    assert tell(notices, SERVING, at + STATUS_S, IDLE) == []
    later = tell(notices, SERVING, at + 2 * STATUS_S, Figures(600, 3))
    assert later == ["STATUS=2 of 2 workers ready, 120 requests/s, 3 in flight"]


def test_figures_say_what_the_service_is_doing() -> None:
    notices = Notices(0.0, 77, 0.0)
    assert tell(notices, STARTING, 0.0, IDLE) == ["STATUS=starting: 0 of 2 workers ready"]
    tell(notices, RELOADING, 1.0)
    tell(notices, RELOADING, 1.0)
    told = tell(notices, RELOADING, 5.0, Figures(8, 1))
    assert told[-1] == "STATUS=reloading: 3 of 2 workers ready, 2 requests/s, 1 in flight"
    told = tell(notices, STOPPING, 6.0, Figures(8, 1))
    assert told == ["STOPPING=1", "STATUS=stopping: 2 workers left, 1 requests in flight"]


def test_no_deadline_is_left_behind_that_would_make_the_master_spin() -> None:
    for facts in (STARTING, HALF, SERVING, RELOADING, STOPPING):
        notices = Notices(0.0, 77, 4.0)
        for second in range(300):
            tell(notices, facts, float(second), IDLE)
            assert notices.next_deadline(facts, float(second)) > second

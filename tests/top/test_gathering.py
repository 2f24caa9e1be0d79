"""News from threads → what is seen."""

from __future__ import annotations

import select
import threading

from prefork.top.gathering import Answered, Gathered, Happened, Looked, Lost, Mailbox
from prefork.top.seen import Event
from tests.top.looks import make_look, make_status, make_worker


def test_a_message_from_another_thread_wakes_the_one_that_waits() -> None:
    mailbox = Mailbox()

    def post_many() -> None:
        for number in range(3000):
            mailbox.post(Answered(str(number)))

    thread = threading.Thread(target=post_many)
    thread.start()
    thread.join()

    assert select.select([mailbox], [], [], 5)[0]
    assert [message.text for message in mailbox.take() if isinstance(message, Answered)] == [
        str(number) for number in range(3000)
    ]
    assert mailbox.take() == []
    mailbox.close()
    mailbox.post(Answered("too late"))  # a thread that has not heard yet that all is over


def test_a_service_that_goes_away_keeps_its_curves_and_comes_back_as_another_master() -> None:
    gathered = Gathered(["shop"])
    for at in (0.0, 1.0):
        gathered.apply(Looked("shop", make_look(at, make_status(make_worker(0, requests=int(at) * 10)))))

    gathered.apply(Lost("shop", "it has ended"))
    assert gathered.show()[0].trouble == "it has ended"

    gathered.apply(Looked("shop", make_look(5.0, make_status(make_worker(0), pid=222))))
    (seen,) = gathered.show()
    assert seen.trouble == ""
    assert list(seen.requests_per_s) == [10, None]
    assert [event.text for event in seen.events] == [
        "another master answers to this name: pid 222, before it 100"
    ]


def test_services_stand_in_the_order_in_which_they_were_named() -> None:
    gathered = Gathered(["shop", "blog"])
    gathered.apply(Happened("blog", Event(1.0, "worker ready")))
    gathered.apply(Lost("new", "x"))

    assert [seen.name for seen in gathered.show()] == ["shop", "blog", "new"]
    assert [event.text for event in gathered.show()[1].events] == ["worker ready"]

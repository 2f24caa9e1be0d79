"""gunicorn's worker classes: mapped where the app's protocol is all that matters, refused where it is not."""

from __future__ import annotations

import pytest

from prefork.config.classes import ACCEPTED, REFUSED, parse_interface, parse_worker_class
from prefork.config.values import RefusedValueError


@pytest.mark.parametrize(
    ("written", "interface"),
    [
        ("sync", "wsgi"),
        ("gthread", "wsgi"),
        ("asgi", "asgi"),
        ("uvicorn", "asgi"),
        ("uvicorn.workers.UvicornWorker", "asgi"),
        ("uvicorn_worker.UvicornWorker", "asgi"),
    ],
)
def test_a_class_stands_for_an_interface(written: str, interface: str) -> None:
    assert parse_worker_class(written) == interface


@pytest.mark.parametrize(
    ("written", "problem", "instead"),
    [
        ("gevent", "gevent workers are not supported", "use threads in its place: --threads 32"),
        ("gevent_pywsgi", "gevent workers are not supported", "use threads in its place: --threads 32"),
        ("eventlet", "eventlet workers are not supported", "use threads in its place: --threads 32"),
        ("tornado", "tornado workers are not supported", REFUSED["tornado"]),
        ("aiohttp.GunicornWebWorker", "aiohttp workers are not supported", REFUSED["aiohttp"]),
        ("gthreads", "not a worker class we know", "did you mean gthread?"),
        ("qqq", "not a worker class we know", ""),
    ],
)
def test_other_classes_are_refused_by_name_with_what_to_do(written: str, problem: str, instead: str) -> None:
    with pytest.raises(RefusedValueError) as refused:
        parse_worker_class(written)
    assert refused.value.message == problem
    assert refused.value.hints == (
        (instead, f"accepted: {ACCEPTED}") if instead else (f"accepted: {ACCEPTED}",)
    )


def test_interfaces_have_uvicorn_s_names_too() -> None:
    words = ("auto", "asgi", "wsgi")
    assert [parse_interface(word, words) for word in ("ASGI3", "asgi", "wsgi")] == ["asgi", "asgi", "wsgi"]
    with pytest.raises(RefusedValueError) as refused:
        parse_interface("asgi2", words)
    assert refused.value.hints == (
        "wrap it: asgiref.compatibility.guarantee_single_callable(app)",
        "accepted: auto, asgi, wsgi",
    )

"""gunicorn's worker classes: mapped where the app's protocol is all that matters, refused where it is not."""

from __future__ import annotations

import pytest

from prefork.config.classes import parse_worker_class
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
    ("written", "problem"),
    [
        ("gevent", "gevent workers are not supported"),
        ("gevent_pywsgi", "gevent workers are not supported"),
        ("eventlet", "eventlet workers are not supported"),
        ("tornado", "tornado workers are not supported"),
        ("aiohttp.GunicornWebWorker", "aiohttp workers are not supported"),
        ("gthreads", "not a worker class we know, did you mean gthread?"),
        ("qqq", "not a worker class we know"),
    ],
)
def test_other_classes_are_refused_by_name(written: str, problem: str) -> None:
    with pytest.raises(RefusedValueError) as refused:
        parse_worker_class(written)
    assert refused.value.message == problem
    assert len(refused.value.hints) == 1

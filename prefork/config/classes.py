"""gunicorn's `--worker-class` → our `--interface`.

A gunicorn worker class says two things, the protocol of the app and how it is run; only the first is a question
here. Classes that swap the standard library for green threads are refused by name: nothing here would do that.
"""

from __future__ import annotations

from collections.abc import Iterable

from prefork.config.nearest import find_nearest
from prefork.config.values import RefusedValueError, parse_choice, parse_text

INTERFACES = {
    "sync": "wsgi",
    "gthread": "wsgi",
    "wsgi": "wsgi",
    "asgi": "asgi",
    "uvicorn": "asgi",
    "uvloop": "asgi",
    "uvicorn.workers.uvicornworker": "asgi",
    "uvicorn.workers.uvicornh11worker": "asgi",
    "uvicorn_worker.uvicornworker": "asgi",
    "uvicorn_worker.uvicornh11worker": "asgi",
    "auto": "auto",
    "stream": "stream",
    "protocol": "protocol",
}

REFUSED = {
    "gevent": "use threads in its place: --threads 32",
    "eventlet": "use threads in its place: --threads 32",
    "meinheld": "leave it out: WSGI is served from C parsers here too",
    "tornado": "a Tornado app brings its own server: run several of it behind a proxy, or port it to ASGI",
    "aiohttp": "an aiohttp app brings its own server: run several of it behind a proxy, or port it to ASGI",
}
ACCEPTED = "sync, gthread, asgi, uvicorn (better: leave it out, the interface is detected)"


def parse_interface(value: object, choices: Iterable[str]) -> str:
    """One of our own words; uvicorn's asgi3 is what asgi means here."""
    if isinstance(value, str):
        word = value.strip().lower()
        if word == "asgi3":
            return "asgi"
        if word == "asgi2":
            raise RefusedValueError(
                "ASGI 2 is not spoken here",
                ", ".join(choices),
                instead="wrap it: asgiref.compatibility.guarantee_single_callable(app)",
            )
    return parse_choice(value, choices)


def parse_worker_class(value: object) -> str:
    """The interface that a gunicorn worker class stands for."""
    text = parse_text(value, ACCEPTED).strip()
    word = text.lower()
    if word in INTERFACES:
        return INTERFACES[word]
    for name, instead in REFUSED.items():
        # gevent, gevent_pywsgi, aiohttp.GunicornWebWorker, meinheld.gmeinheld.MeinheldWorker
        if word.startswith(name):
            raise RefusedValueError(f"{name} workers are not supported", ACCEPTED, instead=instead)
    near = find_nearest(word, [*INTERFACES, *REFUSED])
    raise RefusedValueError(
        "not a worker class we know", ACCEPTED, instead=f"did you mean {near}?" if near else ""
    )

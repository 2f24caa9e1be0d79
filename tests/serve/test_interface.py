from __future__ import annotations

import asyncio
import functools
import wsgiref.validate
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Any

import pytest

from prefork.config.model import InterfaceChoice
from prefork.errors import AppError
from prefork.serve.interface import Shape, find_shape, settle_interface

# Apps as users write them, one per way of writing; annotations only where they decide.


async def asgi(scope: Any, receive: Any, send: Any) -> None: ...
async def asgi_with_odd_names(a: Any, b: Any, c: Any) -> None: ...
async def asgi_with_more(
    scope: Any, receive: Any, send: Any, extra: int = 1, *, debug: bool = False
) -> None: ...
def asgi_that_returns_an_awaitable(scope: Any, receive: Any, send: Any) -> Awaitable[None]:
    return asgi(scope, receive, send)


def wsgi(environ: Any, start_response: Any) -> Iterable[bytes]:
    return []


def wsgi_with_odd_names(a: Any, b: Any) -> Iterable[bytes]:
    return []


def wsgi_generator(environ: Any, start_response: Any) -> Iterator[bytes]:
    yield b""


async def stream(reader: Any, writer: Any) -> None: ...
async def stream_with_odd_names(a: Any, b: Any) -> None: ...


class AsgiInstance:
    async def __call__(self, scope: Any, receive: Any, send: Any) -> None: ...

    async def method(self, scope: Any, receive: Any, send: Any) -> None: ...

    @classmethod
    async def class_method(cls, scope: Any, receive: Any, send: Any) -> None: ...

    @staticmethod
    async def static_method(scope: Any, receive: Any, send: Any) -> None: ...


class AsgiEndpoint:
    """As Starlette's HTTPEndpoint: awaiting the instance answers the request."""

    def __init__(self, scope: Any, receive: Any, send: Any) -> None: ...

    def __await__(self) -> Iterator[None]:
        yield


class WsgiInstance:
    def __call__(self, environ: Any, start_response: Any) -> Iterable[bytes]:
        return []


class WsgiClass:
    """PEP 3333's AppClass."""

    def __init__(self, environ: Any, start_response: Any) -> None: ...

    def __iter__(self) -> Iterator[bytes]:
        yield b""


class StreamInstance:
    async def __call__(self, reader: Any, writer: Any) -> None: ...


class Asgi2Class:
    def __init__(self, scope: Any) -> None: ...

    async def __call__(self, receive: Any, send: Any) -> None: ...


def asgi2(scope: Any) -> Callable[[Any, Any], Awaitable[None]]:
    return Asgi2Class(scope)


class Asgi2Instance:
    def __call__(self, scope: Any) -> Callable[[Any, Any], Awaitable[None]]:
        return Asgi2Class(scope)


class Echo(asyncio.Protocol): ...


class BufferedEcho(asyncio.BufferedProtocol): ...


class EchoOf(asyncio.Protocol):
    def __init__(self, name: str) -> None: ...


def make_echo() -> Echo:
    return Echo()


def create_app() -> object:
    return asgi


def create_app_with_options(config: object = None, testing: bool = False) -> object:
    return config or testing


async def create_app_later() -> object:
    return asgi


def decorate(app: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(app)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return app(*args, **kwargs)

    return wrapper


def decorate_async(app: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(app)
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        return await app(*args, **kwargs)

    return wrapper


def decorate_unnamed(app: Callable[..., Any]) -> Callable[..., Any]:
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return app(*args, **kwargs)

    return wrapper


def inject(app: Callable[..., Any]) -> Callable[..., Any]:
    """A decorator that passes one argument more than it is given."""

    @functools.wraps(app)
    async def wrapper(scope: Any, receive: Any, send: Any) -> Any:
        return await app(scope, receive, send, "database")

    return wrapper


@inject
async def injected(scope: Any, receive: Any, send: Any, database: str) -> None: ...


async def asgi_with_settings(settings: object, scope: Any, receive: Any, send: Any) -> None: ...


class Unclear:
    def __call__(self, *args: Any) -> Any: ...


class Maker:
    """Some object of the user's that happens to be callable."""

    def __call__(self) -> object: ...


async def catch_all(*args: Any) -> None: ...
async def one(message: Any) -> None: ...
def three(a: Any, b: Any, c: Any) -> None: ...
def needs_keyword(a: Any, b: Any, *, c: Any) -> None: ...


class Nothing: ...


@pytest.mark.parametrize(
    ("app", "shape"),
    [
        (asgi, Shape.ASGI),
        (asgi_with_odd_names, Shape.ASGI),
        (asgi_with_more, Shape.ASGI),
        (asgi_that_returns_an_awaitable, Shape.ASGI),
        (AsgiInstance(), Shape.ASGI),
        (AsgiInstance().method, Shape.ASGI),
        (AsgiInstance.class_method, Shape.ASGI),
        (AsgiInstance.static_method, Shape.ASGI),
        (AsgiEndpoint, Shape.ASGI),
        (functools.partial(asgi_with_settings, object()), Shape.ASGI),
        (functools.partial(functools.partial(asgi_with_more, debug=True)), Shape.ASGI),
        (functools.partial(AsgiInstance()), Shape.ASGI),
        (decorate(asgi), Shape.ASGI),
        (decorate(asgi_with_odd_names), Shape.ASGI),
        (decorate_async(decorate(asgi)), Shape.ASGI),
        (decorate_unnamed(asgi), Shape.ASGI),
        (decorate_unnamed(AsgiInstance()), Shape.ASGI),
        (injected, Shape.ASGI),
        (wsgi, Shape.WSGI),
        (wsgi_with_odd_names, Shape.WSGI),
        (wsgi_generator, Shape.WSGI),
        (WsgiInstance(), Shape.WSGI),
        (WsgiClass, Shape.WSGI),
        (decorate(wsgi), Shape.WSGI),
        (wsgiref.validate.validator(wsgi), Shape.WSGI),
        (stream, Shape.STREAM),
        (stream_with_odd_names, Shape.STREAM),
        (StreamInstance(), Shape.STREAM),
        (decorate(stream_with_odd_names), Shape.STREAM),
        (Echo, Shape.PROTOCOL),
        (BufferedEcho, Shape.PROTOCOL),
        (make_echo, Shape.PROTOCOL),
        (functools.partial(EchoOf, "name"), Shape.PROTOCOL),
        (create_app, Shape.FACTORY),
        (create_app_with_options, Shape.FACTORY),
        (functools.lru_cache(create_app), Shape.FACTORY),
        (lambda: Echo(), Shape.FACTORY),  # noqa: PLW0108  # what it makes cannot be known
        (AsgiInstance, Shape.FACTORY),
        (asgi2, Shape.ASGI2),
        (Asgi2Class, Shape.ASGI2),
        (Asgi2Instance(), Shape.ASGI2),
        (Unclear(), Shape.UNCLEAR),
        (Maker(), Shape.UNCLEAR),
        (Nothing, Shape.UNCLEAR),
        (catch_all, Shape.UNCLEAR),
        (create_app_later, Shape.UNCLEAR),
        (one, Shape.UNCLEAR),
        (three, Shape.UNCLEAR),
        (needs_keyword, Shape.UNCLEAR),
        (dict.fromkeys, Shape.UNCLEAR),
        ({}, Shape.UNCALLABLE),
        (None, Shape.UNCALLABLE),
    ],
    ids=lambda value: (
        value.value if isinstance(value, Shape) else getattr(value, "__name__", type(value).__name__)
    ),
)
def test_the_shape_of_an_app_is_told_without_calling_it(app: object, shape: Shape) -> None:
    assert find_shape(app) is shape


@pytest.mark.parametrize(
    ("app", "choice", "interface"),
    [
        (asgi, "auto", "asgi"),
        (wsgi, "auto", "wsgi"),
        (stream, "auto", "stream"),
        (Echo, "auto", "protocol"),
        (catch_all, "asgi", "asgi"),
        (catch_all, "stream", "stream"),
        (Unclear(), "wsgi", "wsgi"),
        (create_app, "protocol", "protocol"),
        (wsgi_with_odd_names, "asgi", "asgi"),
    ],
)
def test_a_chosen_interface_is_obeyed(app: object, choice: InterfaceChoice, interface: str) -> None:
    assert settle_interface(app, "main:app", choice) == interface


@pytest.mark.parametrize(
    ("app", "choice", "lines"),
    [
        (
            asgi,
            "wsgi",
            [
                "main:app is no wsgi app: its parameters are those of ASGI",
                "leave --interface out: it is detected",
            ],
        ),
        (
            wsgi,
            "asgi",
            [
                "main:app is no asgi app: its parameters are those of WSGI",
                "leave --interface out: it is detected",
            ],
        ),
        (
            catch_all,
            "auto",
            [
                "cannot tell which interface main:app speaks (a coroutine function that takes *args)",
                "say it: --interface asgi (scope, receive, send), wsgi (environ, start_response),",
                "stream (reader, writer) or protocol (no arguments, makes an asyncio.Protocol)",
            ],
        ),
        (
            create_app,
            "auto",
            [
                "main:app takes no arguments: it looks like a factory, not an app",
                "did you mean main:app()?        or add --factory",
                "if it makes an asyncio.Protocol for each connection: --interface protocol",
            ],
        ),
        (
            create_app,
            "asgi",
            [
                "main:app takes no arguments: it looks like a factory, not an app",
                "did you mean main:app()?        or add --factory",
                "if it makes an asyncio.Protocol for each connection: --interface protocol",
            ],
        ),
        (
            asgi2,
            "asgi",
            [
                "main:app is an ASGI 2 app, called twice; prefork serves ASGI 3",
                "wrap it with asgiref.compatibility.guarantee_single_callable(app), or update the framework",
            ],
        ),
        (
            EchoOf,
            "auto",
            [
                "main:app needs 1 argument, and each connection makes its protocol without any",
                "bind them: functools.partial(TheProtocol, …)",
            ],
        ),
        ({}, "auto", ["main:app is a dict, not an app: it cannot be called"]),
        (None, "wsgi", ["main:app is None, not an app: it cannot be called"]),
    ],
)
def test_what_cannot_be_served_is_refused_with_what_to_do(
    app: object, choice: InterfaceChoice, lines: list[str]
) -> None:
    with pytest.raises(AppError) as raised:
        settle_interface(app, "main:app", choice)

    assert [raised.value.message, *raised.value.hints] == lines


# Real frameworks, where they are installed (the `frameworks` extra).

FRAMEWORK_APPS = {
    "flask": ("app = flask.Flask('app')", Shape.WSGI),
    "bottle": ("app = bottle.Bottle()", Shape.WSGI),
    "falcon": ("app = falcon.App()", Shape.WSGI),
    "falcon.asgi": ("app = falcon.asgi.App()", Shape.ASGI),
    "django.core.handlers.wsgi": ("app = object.__new__(django.core.handlers.wsgi.WSGIHandler)", Shape.WSGI),
    "django.core.handlers.asgi": ("app = object.__new__(django.core.handlers.asgi.ASGIHandler)", Shape.ASGI),
    "starlette.applications": ("app = starlette.applications.Starlette()", Shape.ASGI),
    "starlette.endpoints": ("app = starlette.endpoints.HTTPEndpoint", Shape.ASGI),
    "fastapi": ("app = fastapi.FastAPI()", Shape.ASGI),
    "litestar": ("app = litestar.Litestar()", Shape.ASGI),
    "quart": ("app = quart.Quart('app')", Shape.ASGI),
    "asgiref.wsgi": ("app = asgiref.wsgi.WsgiToAsgi(lambda environ, start_response: [])", Shape.ASGI),
}


@pytest.mark.filterwarnings("ignore")  # the frameworks' own
@pytest.mark.parametrize("module", FRAMEWORK_APPS)
def test_an_app_of_a_real_framework_is_told(module: str) -> None:
    pytest.importorskip(module)
    source, shape = FRAMEWORK_APPS[module]
    names: dict[str, Any] = {}
    exec(f"import {module}\n{source}", names)  # our own two lines

    assert find_shape(names["app"]) is shape

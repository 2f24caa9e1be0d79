"""Which interface does an app speak? Told from its signature, without calling it.

The app is never called and never imported here. Parameter names decide first, because
`app(scope, receive, send)` means one thing only; then how many parameters are required and whether the call is a
coroutine function. What stays unclear is refused, not guessed: a wrong guess would break every connection.
"""

from __future__ import annotations

import enum
import functools
import inspect
import sys
import types
import typing
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass

from prefork.config.model import Interface, InterfaceChoice
from prefork.errors import AppError


class Shape(enum.Enum):
    """What an object looks like from outside; the value is how we say it."""

    ASGI = "ASGI"
    WSGI = "WSGI"
    STREAM = "stream"
    PROTOCOL = "protocol"
    FACTORY = "factory"
    ASGI2 = "ASGI 2"
    UNCLEAR = "unclear"
    UNCALLABLE = "not callable"


INTERFACES: dict[Shape, Interface] = {
    Shape.ASGI: "asgi",
    Shape.WSGI: "wsgi",
    Shape.STREAM: "stream",
    Shape.PROTOCOL: "protocol",
}
"""The shapes that can be served as they are."""

PARAMETERS: dict[tuple[str, ...], Shape] = {
    ("scope", "receive", "send"): Shape.ASGI,
    ("environ", "start_response"): Shape.WSGI,
    ("env", "start_response"): Shape.WSGI,
    ("reader", "writer"): Shape.STREAM,
    ("receive", "send"): Shape.UNCLEAR,  # the inner half of an ASGI 2 app
    ("scope",): Shape.ASGI2,
}
"""Parameter names that leave no doubt."""

MAX_LAYERS = 16  # decorators on one app; more is a cycle

HOW_TO_SAY = (
    "say it: --interface asgi (scope, receive, send), wsgi (environ, start_response),",
    "stream (reader, writer) or protocol (no arguments, makes an asyncio.Protocol)",
)


def settle_interface(app: object, where: str, choice: InterfaceChoice) -> Interface:
    """The interface to serve `app` with. A `choice` other than `auto` is obeyed, unless the app can never be
    called that way. Raises `AppError`.
    """
    shape = find_shape(app)
    if shape is Shape.UNCALLABLE:
        raise AppError(f"{where} is {name_type(app)}, not an app: it cannot be called")
    if shape is Shape.ASGI2:
        wrap = "wrap it with asgiref.compatibility.guarantee_single_callable(app), or update the framework"
        raise AppError(f"{where} is an ASGI 2 app, called twice; prefork serves ASGI 3", wrap)
    if shape is Shape.PROTOCOL and choice in {"auto", "protocol"}:
        _check_protocol(app, where)
    if choice == "auto" or (shape is Shape.FACTORY and choice != "protocol"):
        return _tell_interface(app, shape, where)
    named = find_named_shape(app)
    if named in INTERFACES and INTERFACES[named] != choice:
        found = f"its parameters are those of {named.value}"
        raise AppError(f"{where} is no {choice} app: {found}", "leave --interface out: it is detected")
    return choice


def find_shape(app: object) -> Shape:
    """What `app` looks like. Reads signatures only; never calls it."""
    if not callable(app):
        return Shape.UNCALLABLE
    if is_protocol_class(_strip_partial(app)):
        return Shape.PROTOCOL
    if isinstance(app, type):
        return _find_class_shape(app)
    return _find_call_shape(app)


def find_named_shape(app: object) -> Shape | None:
    """What the parameter names alone say; None when they say nothing."""
    call = _read_call(app)
    return _match_names(call) if call else None


def count_required(app: object) -> int:
    """How many arguments `app` cannot be called without; 0 when its signature cannot be read."""
    call = _read_call(app)
    return call.required if call else 0


def is_protocol_class(candidate: object) -> bool:
    """Is it a class whose instances asyncio can drive?"""
    # Not imported: while asyncio is not loaded no class can be derived from it, and the master must not load it.
    protocols = sys.modules.get("asyncio.protocols")
    return (
        protocols is not None
        and isinstance(candidate, type)
        and issubclass(candidate, protocols.BaseProtocol)
    )


def name_type(value: object) -> str:
    """`a dict`, `an int`, `None`, `a module`."""
    if value is None:
        return "None"
    name = type(value).__name__
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"


def _tell_interface(app: object, shape: Shape, where: str) -> Interface:
    if shape in INTERFACES:
        return INTERFACES[shape]
    if shape is Shape.FACTORY:
        raise AppError(
            f"{where} takes no arguments: it looks like a factory, not an app",
            f"did you mean {where}()?        or add --factory",
            "if it makes an asyncio.Protocol for each connection: --interface protocol",
        )
    raise AppError(f"cannot tell which interface {where} speaks ({_describe(app)})", *HOW_TO_SAY)


def _check_protocol(app: object, where: str) -> None:
    if required := count_required(app):
        arguments = "1 argument" if required == 1 else f"{required} arguments"
        raise AppError(
            f"{where} needs {arguments}, and each connection makes its protocol without any",
            "bind them: functools.partial(TheProtocol, …)",
        )


def _describe(app: object) -> str:
    kind = "function" if isinstance(app, types.FunctionType) else type(app).__name__
    call = _read_call(app)
    if call is None:
        return f"a {kind} whose parameters cannot be read"
    taken = [*call.names[: call.required], *(["*args"] if call.catch_all else [])]
    return f"a {'coroutine ' if call.is_async else ''}{kind} that takes {', '.join(taken) or 'no arguments'}"


def _find_class_shape(cls: type) -> Shape:
    call = _read_call(cls)
    if call is None:
        return Shape.UNCLEAR
    # Not getattr: a class without a __call__ of its own has its metaclass's.
    method = next((vars(base)["__call__"] for base in cls.__mro__ if "__call__" in vars(base)), None)
    second = _read_call(method) if method else None  # with its self
    shape = Shape.UNCLEAR
    if hasattr(cls, "__await__") and call.required == 3:  # `await Endpoint(scope, receive, send)`
        shape = Shape.ASGI
    elif hasattr(cls, "__iter__") and call.required == 2:  # PEP 3333's AppClass
        shape = Shape.WSGI
    elif second and call.required == 0:
        shape = Shape.FACTORY
    elif second and call.required == 1 and second.is_async and second.required == 3:
        shape = Shape.ASGI2
    return shape


def _find_call_shape(app: Callable[..., object]) -> Shape:
    layers = list(_peel(app))
    is_async = any(_is_async(layer) for layer in layers)
    for layer in layers:
        call = _read_call(layer)
        if call is None or call.catch_all:
            continue
        if named := _match_names(call):
            return named
        if call.required == 0:
            return _find_maker_shape(layer) if not is_async else Shape.UNCLEAR
        return _BY_COUNT.get((is_async, call.required), Shape.UNCLEAR)
    return Shape.UNCLEAR


_BY_COUNT = {(True, 3): Shape.ASGI, (True, 2): Shape.STREAM, (False, 2): Shape.WSGI}


def _find_maker_shape(app: object) -> Shape:
    """What is called without arguments makes something: a protocol if it says so, else perhaps the app."""
    function = _strip_partial(app)
    # An instance with such a __call__ is some object of the user's, not a function that makes apps.
    shape = Shape.FACTORY if isinstance(function, _FUNCTIONS | type) else Shape.UNCLEAR
    call = function if isinstance(function, _FUNCTIONS) else getattr(function, _CALL, None)
    with suppress(Exception):  # annotations are the user's code, evaluated here: they may raise anything
        if is_protocol_class(typing.get_type_hints(call).get("return")):
            return Shape.PROTOCOL
    return shape


_FUNCTIONS = types.FunctionType | types.MethodType
_CALL = "__call__"


@dataclass(frozen=True, slots=True)
class _Call:
    names: tuple[str, ...]
    """Positional parameters, in order."""
    required: int
    catch_all: bool
    """Takes `*args`: the parameters say nothing."""
    is_async: bool


def _read_call(app: object) -> _Call | None:
    try:
        # Not through __wrapped__: a decorator may add and drop arguments.
        signature = inspect.signature(typing.cast("Callable[..., object]", app), follow_wrapped=False)
    except (TypeError, ValueError):  # compiled, without a signature
        return None
    kinds = inspect.Parameter
    names, required, catch_all = [], 0, False
    for parameter in signature.parameters.values():
        needed = parameter.default is kinds.empty
        if parameter.kind in {kinds.POSITIONAL_ONLY, kinds.POSITIONAL_OR_KEYWORD}:
            names.append(parameter.name.strip("_"))
            required += needed
        elif parameter.kind is kinds.KEYWORD_ONLY and needed:
            return None  # nobody will pass it
        catch_all |= parameter.kind is kinds.VAR_POSITIONAL
    return _Call(tuple(names), required, catch_all, _is_async(app))


def _match_names(call: _Call) -> Shape | None:
    for names, shape in PARAMETERS.items():
        if call.names[: len(names)] == names and call.required <= len(names):
            return shape
    return None


def _is_async(app: object) -> bool:
    function = _strip_partial(app)
    if not isinstance(function, _FUNCTIONS | type) and callable(function):
        function = function.__call__
    return inspect.iscoroutinefunction(function)


def _strip_partial(app: object) -> object:
    while isinstance(app, functools.partial):
        app = app.func
    return app


def _peel(app: object) -> Iterator[object]:
    """The app, then what it wraps, outermost first."""
    layer: object | None = app
    for _ in range(MAX_LAYERS):
        if layer is None:
            return
        yield layer
        call = _read_call(layer)
        layer = getattr(layer, "__wrapped__", None) or (
            _find_enclosed(layer) if call and call.catch_all else None
        )


def _find_enclosed(app: object) -> object | None:
    """The one callable that a decorator without `functools.wraps` closed over, as `wsgiref.validate` does."""
    cells = getattr(app, "__closure__", None) or ()
    enclosed = []
    for cell in cells:
        with suppress(ValueError):  # not assigned yet
            if callable(cell.cell_contents):
                enclosed.append(cell.cell_contents)
    return enclosed[0] if len(enclosed) == 1 else None

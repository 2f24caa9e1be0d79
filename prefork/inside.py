"""The app's side: what it registers and what it says. The worker plugs an outlet in, after the fork.

Floor 0 and nothing heavy: apps import this through `prefork`, also where no prefork runs (tests, other servers). There
is no lock, for a fork would inherit it as it is: the zygote's import registers, every worker forked from it has it.
"""

from __future__ import annotations

TYPE_CHECKING = False  # not from typing, which would be most of the cost
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Protocol, TypeVar

    StartHook = Callable[[], object]
    ShutdownHook = Callable[[str, float], object]
    MessageHandler = Callable[[Any, int], object]
    S = TypeVar("S", bound=StartHook)
    H = TypeVar("H", bound=ShutdownHook)
    M = TypeVar("M", bound=MessageHandler)

    class Outlet(Protocol):
        """The worker's end. Every method may be called from any thread, and returns whether it took the call."""

        def tell_ready(self) -> bool: ...

        def retire(self, reason: str) -> bool: ...

        def send(self, message: object, to: int | None) -> bool: ...


class AppSide:
    """What the app registered and said in this process; `outlet` is None outside a worker."""

    __slots__ = ("hooks", "is_ready", "listeners", "outlet", "starters")

    def __init__(self) -> None:
        self.starters: list[StartHook] = []
        self.hooks: list[ShutdownHook] = []
        self.listeners: list[MessageHandler] = []
        self.is_ready = False
        self.outlet: Outlet | None = None

    def plug_in(self, outlet: Outlet) -> None:
        """What the app says from now on is heard; that it is ready also if it was said before."""
        self.outlet = outlet
        # `ready` does these two in the other order, so that one of us sees the other, whichever thread is first.
        if self.is_ready:
            outlet.tell_ready()


app_side = AppSide()
"""This process's, as `prefork.worker` is."""


def ready() -> bool:
    """With `wait-ready`: this worker may be sent traffic now. Said while the app is imported, it holds for every worker
    forked from there.

    Returns True in a worker, False elsewhere. Any thread may call it, and any number of times.
    """
    app_side.is_ready = True
    outlet = app_side.outlet
    return outlet is not None and outlet.tell_ready()


def retire(reason: str) -> bool:
    """Replace this worker: a successor becomes ready, then this one drains.

        prefork.retire("cache is poisoned")

    Returns True in a worker, False elsewhere. Any thread may call it; after the first time it does nothing.
    """
    outlet = app_side.outlet
    return outlet is not None and outlet.retire(reason)


def on_worker_start(function: S) -> S:
    """Have `function()` called once in each worker, after the fork and before the app's own startup; also a decorator.

        @prefork.on_worker_start
        def start_tracing(): trace.set_tracer_provider(make_provider())

    For what does not survive a fork: the threads and connections of OpenTelemetry, Sentry and other agents.
    `prefork.worker` is set. They are called in order, on the event loop's thread with the loop running; an async
    function is awaited. One that raises fails the boot. Registering must happen while the app is imported: where no
    prefork runs, nobody calls them. Raises TypeError if `function` cannot be called without arguments.
    """
    _check_call(function, "on_worker_start", ())
    app_side.starters.append(function)
    return function


def on_shutdown(function: H) -> H:
    """Have `function(reason, deadline)` called once, when this worker begins to drain or to stop; also a decorator.

        @prefork.on_shutdown
        async def close(reason, deadline): ...

    `reason` is text (`SIGTERM`, `reload`, `scale-down`, `max-requests`, what was said to `retire`); `deadline` is in
    `time.monotonic()` seconds. Requests in flight go on meanwhile. An async function runs as a task and is cancelled at
    the deadline; a plain one runs on the event loop's thread and must be quick. Lifespan shutdown comes after all of
    them. Raises TypeError if `function` cannot be called with two arguments.
    """
    _check_call(function, "on_shutdown", ("reason", "deadline"))
    app_side.hooks.append(function)
    return function


def on_message(function: M) -> M:
    """Have `function(message, sender)` called for each message that another worker sends; also a decorator.

        @prefork.on_message
        def forget(message, sender): cache.pop(message["key"], None)

    `sender` is the slot of the worker that sent it. An async function runs as a task, a plain one on the event loop's
    thread. Raises TypeError if `function` cannot be called with two arguments.
    """
    _check_call(function, "on_message", ("message", "sender"))
    app_side.listeners.append(function)
    return function


def send(message: object, to: int | None = None) -> bool:
    """Send `message` to the worker in slot `to`, or to every other worker: through the master, as JSON.

        prefork.send({"key": "prices"})

    Returns True if it is on its way, False outside a worker or when too much waits to be sent already. Never blocks,
    and any thread may call it. It is not a promise of arrival: the master drops what a worker does not read, and what
    is for a slot without a ready worker. Raises TypeError for what is not JSON, ValueError for more than 64 KB of it.
    """
    outlet = app_side.outlet
    return outlet is not None and outlet.send(message, to)


def _check_call(function: object, name: str, arguments: tuple[str, ...]) -> None:
    import inspect  # noqa: PLC0415  # most apps register nothing

    told = f"({', '.join(arguments)})"
    if not callable(function):
        raise TypeError(f"{name} needs a function to call with {told}, not {function!r}")
    try:
        signature = inspect.signature(function)
    except ValueError:  # compiled, without a signature
        return
    try:
        signature.bind(*arguments)
    except TypeError as error:
        raise TypeError(f"{name}: {function!r} is called with {told}: {error}") from None

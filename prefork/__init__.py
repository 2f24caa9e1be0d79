"""A pre-fork cluster server for Python: every core, reloads without a lost request, workers you can see.

`prefork.worker` tells an app which worker it runs in; `ready`, `retire`, `on_worker_start`, `on_shutdown`, `send`
and `on_message` are its words with prefork and with the other workers; `prefork.run` starts a service from Python.
Importing this costs next to nothing, for apps import it: whatever is heavy is imported by the function that needs it.
"""

from __future__ import annotations

TYPE_CHECKING = False  # not from typing, which would be most of the cost
if TYPE_CHECKING:
    from prefork.identity import Worker
    from prefork.inside import on_message, on_shutdown, on_worker_start, ready, retire, send

__version__ = "0.1.0"

__all__ = [
    "__version__",
    "on_message",
    "on_shutdown",
    "on_worker_start",
    "ready",
    "retire",
    "run",
    "send",
    "worker",
]

worker: Worker | None = None
"""Which worker this process is: `slot`, `generation`, `pid`, `count`. None outside a worker."""


def run(app: str | None = None, **options: object) -> int:
    """Serve `app` until stopped, and return the exit code; the options are those of the command line.

        prefork.run("shop.main:app", workers="max", bind=[":8000", "unix:/run/shop.sock"])

    Hyphens become underscores, and values are those of a TOML file. Environment variables and files count as they do
    for the command. The app is imported by name in fresh interpreters, so `app` is text, never the object itself; call
    this under `if __name__ == "__main__":`. Raises `prefork.errors.PreforkError`.
    """
    from prefork.cli.embedding import run_embedded  # noqa: PLC0415  # apps that never call this do not pay for it

    return run_embedded(app, options)


def __getattr__(name: str) -> object:
    """The words of `prefork.inside`, imported when an app first uses one: the master never does (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from prefork import inside  # noqa: PLC0415  # see above

    return getattr(inside, name)

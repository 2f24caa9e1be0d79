"""The hooks of a gunicorn.conf.py that run in workers: post_fork, post_worker_init, worker_exit.

The file is run again in each worker, after the fork, so that a hook finds what the file has set beside it; the master
only knows the hooks' names. gunicorn gives them its own server and worker: ours are stand-ins with what is true here,
and say so of everything else.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

from prefork.config.gunicorn import SETTINGS
from prefork.config.model import Config
from prefork.errors import AppError
from prefork.serve.blame import find_blame
from prefork.system import processes

logger = logging.getLogger("prefork.worker")


class StandIn:
    """Some attributes of an object of gunicorn's."""

    def __init__(self, what: str, **attributes: object) -> None:
        self._what = what
        self.__dict__.update(attributes)

    def __getattr__(self, name: str) -> object:
        has = ", ".join(key for key in self.__dict__ if not key.startswith("_"))
        raise AttributeError(f"prefork's stand-in for gunicorn's {self._what} has no {name}, but: {has}")


class GunicornHooks:
    """One worker's."""

    def __init__(self, config: Config, slot: int) -> None:
        """Run the file. Raises `AppError`."""
        self._path = config.config_file
        self._names: dict[str, object] = {"__name__": "__config__", "__file__": self._path}
        try:
            exec(compile(Path(self._path).read_bytes(), self._path, "exec"), self._names)  # noqa: S102  # gunicorn's way
        except BaseException as error:  # noqa: BLE001  # SystemExit too: it is not the file's to end the worker
            raise self._blame("could not be run", error) from None
        own = {name: self._names[name] for name in SETTINGS if name in self._names}
        resolved = {"workers": config.workers, "bind": list(config.bind), "proc_name": config.name}
        cfg = StandIn("cfg", **{**own, **resolved})
        shared = {"cfg": cfg, "log": logger}
        self._server = StandIn(
            "server", address=list(config.bind), num_workers=config.workers, proc_name=config.name, **shared
        )
        self._worker = StandIn(
            "worker", pid=processes.get_pid(), ppid=os.getppid(), age=slot + 1, alive=True, **shared
        )

    def begin(self) -> None:
        """post_fork, post_worker_init: before the app's own startup. Raises `AppError`."""
        self._call("post_fork", self._server, self._worker)
        self._call("post_worker_init", self._worker)

    def end(self) -> None:
        """worker_exit: the last thing that is done. Logs what it raises."""
        try:
            self._call("worker_exit", self._server, self._worker)
        except AppError as error:
            logger.error(  # noqa: TRY400  # the traceback is the hook's own
                error.message, extra={"detail": error.traceback}
            )

    def _call(self, name: str, *arguments: object) -> None:
        hook = self._names.get(name)
        if not callable(hook):
            return
        try:
            hook(*arguments)
        except BaseException as error:  # noqa: BLE001  # as above
            raise self._blame(f"{name} raised", error) from None

    def _blame(self, doing: str, error: BaseException) -> AppError:
        blame = find_blame(error, Path.cwd())
        return AppError(f"{Path(self._path).name}: {doing} {blame.line}", traceback=blame.traceback)

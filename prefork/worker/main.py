"""The worker's process: identify, boot, live, close what is left, exit.

What it does between boot and exit is `life.py`.
"""

from __future__ import annotations

import asyncio
import os
import socket

import prefork
from prefork.errors import EXIT_APP, AppError
from prefork.identity import Worker
from prefork.inside import app_side
from prefork.ipc import messages as say
from prefork.ipc.codec import encode
from prefork.ipc.foreign import describe_failure
from prefork.system import clock, logs, processes, signals
from prefork.system.channel import Channel
from prefork.system.fork_guard import ForkGuard
from prefork.worker.errand import Errand
from prefork.worker.farewell import leave_threads
from prefork.worker.life import QUICK_SHUTDOWN_S, Life, show_state
from prefork.worker.preparing import Prepared, import_app, prepare
from prefork.worker.welcoming import load_hooks


def run_worker(errand: Errand, prepared: Prepared | None = None) -> int:
    """Serve until the end; returns the exit code."""
    born = clock.monotonic()
    channel = Channel(socket.socket(fileno=errand.channel_fd))
    identify(errand)
    write_fd = _offer_stacks(channel)
    guard = ForkGuard(errand.inherited.listener_fds.values)
    try:
        if prepared is None:
            config = errand.boot.config
            prepared = prepare(config, errand.app or import_app(config), errand.tls)
        hooks = load_hooks(errand.boot.config, errand.fork.slot, app_side.starters)
        life = Life(errand, prepared, channel, born)
        guard.watch(life.list_listeners)
        code = prepared.loop.run_until_complete(life.live())
        # Half of it, so that who clings to the loop is left before the master's patience is over, not when it is.
        _close_loop(prepared.loop, life.time_left() / 2)
        life.close_access_log()
        if hooks is not None:
            hooks.end()
        leave_threads(life.time_left(), code, life.who())
    except AppError as error:
        channel.send(encode(say.BootFailed(*describe_failure(error))))
        channel.flush()
        return EXIT_APP
    finally:
        os.close(write_fd)
        if errand.inherited.output is not None:
            errand.inherited.output.settle()
    return code


def identify(errand: Errand) -> None:
    """Tell the app and the process list which worker this is."""
    fork = errand.fork
    pid = processes.get_pid()
    # The import of the subpackage of the same name put a module there.
    prefork.worker = Worker(slot=fork.slot, generation=errand.boot.gen, pid=pid, count=fork.count)
    os.environ["PREFORK_WORKER_ID"] = str(fork.slot)
    logs.sign_lines({"slot": fork.slot, "gen": errand.boot.gen})
    if errand.inherited.output is not None:
        errand.inherited.output.sign(fork.slot, errand.boot.gen)
    show_state(errand, "booting")


def _offer_stacks(channel: Channel) -> int:
    """Open the pipe that stacks are dumped into and give its other end to the master. Returns our end."""
    read_fd, write_fd = os.pipe()
    os.set_blocking(write_fd, False)  # a dump longer than the pipe is cut, never waited for
    signals.dump_stacks_into(write_fd)
    channel.send(encode(say.Stacks()), read_fd)
    os.close(read_fd)
    return write_fd


def _close_loop(loop: asyncio.AbstractEventLoop, limit_s: float) -> None:
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    if tasks:
        loop.run_until_complete(asyncio.wait(tasks, timeout=min(limit_s, QUICK_SHUTDOWN_S)))
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()

"""What the fresh interpreter runs: hear what to boot, import, fork on demand, guard the workers to their end.

Fork rules: no thread of ours before a fork; in the child everything that is not the worker's is closed before any
code of the app runs; the child returns out of this loop to the top of the stack, so that no frame of the zygote, and
none of its `finally` blocks, lies under a worker.
"""

from __future__ import annotations

import gc
import logging
import os
import signal
import socket

import prefork
from prefork.config.model import Config
from prefork.errors import PreforkError
from prefork.ipc import messages as say
from prefork.ipc.codec import encode, read_from_master_as_zygote
from prefork.ipc.foreign import describe_failure, fit
from prefork.ipc.starting import PROTOCOL
from prefork.system import processes, signals, titles
from prefork.system.channel import Channel
from prefork.system.fork_guard import ForkGuard
from prefork.worker.errand import Errand
from prefork.worker.main import run_worker
from prefork.worker.preparing import warm_up
from prefork.zygote.fork_safety import find_hazards
from prefork.zygote.guarding import Zygote
from prefork.zygote.hearing import hear_boot, resume, start_over
from prefork.zygote.importing import Import, import_app, make_tls, prepare_process, take_output
from prefork.zygote.spare import Standby, run_spare

logger = logging.getLogger("prefork.zygote")


def main(argv: list[str]) -> int:
    """The zygote's whole life, and after a fork the worker's. `argv`: where the master's prefork is, the channel's
    descriptor, the master's protocol, and after an unsafe import the descriptor of the file that says what was known
    before the exec.
    """
    if argv[2] != str(PROTOCOL):
        refuse_master(int(argv[1]), argv[2])
        return 0
    child = run_zygote(int(argv[1]), int(argv[3]) if len(argv) > 3 else None)
    match child:
        case None:
            return 0
        case Errand():
            return run_worker(child)
        case Standby():
            return run_spare(child)


def refuse_master(channel_fd: int, protocol: str) -> None:
    """A reload found another version of prefork than the master's, and the two cannot talk: say just that."""
    channel = Channel(socket.socket(fileno=channel_fd))
    why = f"prefork {prefork.__version__} speaks another protocol ({PROTOCOL}) than the master ({fit(protocol, 20)})"
    channel.send(encode(say.ImportFailed(f"{why}: restart the service to upgrade it")))
    channel.flush()


def run_zygote(channel_fd: int, resume_fd: int | None) -> Errand | Standby | None:
    """Returns None when the zygote ends, or in a forked child what it is there for."""
    signals.ignore(
        signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2
    )
    processes.die_with_parent(die=True)
    os.set_inheritable(channel_fd, False)
    channel = Channel(socket.socket(fileno=channel_fd))
    reader = read_from_master_as_zygote()
    if resume_fd is None:
        processes.close_descriptors_except(frozenset({channel_fd}))
        heard = hear_boot(channel, reader)
    else:
        heard = resume(resume_fd)
    if heard is None:
        return None
    boot, inherited = heard.boot, heard.inherited
    titles.set_title(f"prefork: zygote {boot.config.name} gen={boot.gen} importing")
    try:
        prepare_process(boot.config, inherited.log_fd)
        inherited = inherited._replace(output=take_output(boot.config, inherited.log_fd))
        guard = ForkGuard(inherited.listener_fds.values)
        imported = import_app(boot.config, inherited.log_fd, heard.unsafe)
        guard.end()
        if imported.app is not None:
            own_fds = frozenset({channel_fd, *(inherited.output.list_fds() if inherited.output else ())})
            hazards = find_hazards(own_fds, imported.watchdog)
            if hazards and boot.config.preload == "auto":
                start_over(channel_fd, boot, inherited, ", ".join(hazards))
            if hazards:
                logger.warning(
                    "forking although the import left %s", ", ".join(hazards), extra={"gen": boot.gen}
                )
            warm_up(boot.config, imported.app.interface)
        tls = make_tls(boot.config, inherited.tls_fd)
        inherited = inherited._replace(tls_fd=None)
    except PreforkError as error:
        if inherited.output is not None:
            inherited.output.settle()
        channel.send(encode(say.ImportFailed(*describe_failure(error))))
        channel.flush()
        return None
    if inherited.output is not None:
        inherited.output.settle()
    gc.collect()
    gc.freeze()
    gc.enable()
    # From here on the zygote outlives the master for a moment, to see its workers to their end.
    processes.die_with_parent(die=False)
    titles.set_title(f"prefork: zygote {boot.config.name} gen={boot.gen}")
    channel.send(encode(_describe(boot.config, imported)))
    return Zygote(boot, inherited, imported.app, tls, channel, reader).run(heard.waiting)


def _describe(config: Config, imported: Import) -> say.Imported:
    app = imported.app
    return say.Imported(
        where=app.where if app else config.app,
        interface=app.interface if app else None,
        preloaded=app is not None,
        why=fit(imported.why),
        import_ms=imported.ms,
        version=prefork.__version__,
    )

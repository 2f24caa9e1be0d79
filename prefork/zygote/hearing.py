"""What a zygote is told first: descriptors, then `Boot`; and how that outlives the exec after an unsafe import."""

from __future__ import annotations

import os
import selectors
import sys
from typing import NamedTuple

from prefork.ipc import messages as say
from prefork.ipc.codec import Reader, decode_resume, encode
from prefork.ipc.starting import ZYGOTE_CODE
from prefork.system import processes
from prefork.system.channel import Channel
from prefork.worker.errand import Inherited


class Heard(NamedTuple):
    """Everything that the import needs."""

    boot: say.Boot
    inherited: Inherited
    unsafe: str
    waiting: list[say.MasterToZygote]
    """Messages that came right behind."""


def hear_boot(channel: Channel, reader: Reader[say.MasterToZygote]) -> Heard | None:
    """Descriptors first, then `Boot`; None if the master is gone."""
    given: dict[str, dict[int, int]] = {
        "listener": {}, "scoreboard": {}, "log": {}, "access-log": {}, "tls": {}
    }  # fmt: skip
    with selectors.DefaultSelector() as selector:
        selector.register(channel, selectors.EVENT_READ)
        while True:
            selector.select()
            data = channel.receive()
            if data is None:
                return None
            heard = reader.feed(data)
            for index, message in enumerate(heard):
                if isinstance(message, say.Give):
                    given[message.what][message.number] = channel.take_promised_fd()
                elif isinstance(message, say.Boot):
                    inherited = Inherited(
                        given["listener"],
                        given["scoreboard"][0],
                        given["log"].get(0),
                        given["access-log"].get(0),
                        given["tls"].get(0),
                    )
                    return Heard(message, inherited, "", heard[index + 1 :])


def start_over(channel_fd: int, boot: say.Boot, inherited: Inherited, unsafe: str) -> None:
    """The import made this process unfit to fork: become a new interpreter that leaves the import to its workers.

    Same pid, same channel: to the master nothing happened but time.
    """
    import tempfile  # noqa: PLC0415 8 ms that only the unsafe pay

    inherited, output = inherited._replace(output=None), inherited.output
    if output is not None:
        output.settle()
    with tempfile.TemporaryFile() as file:
        file.write(encode(say.Resume(boot, *inherited[:-1], unsafe)))
        file.flush()
        kept = [channel_fd, file.fileno(), *inherited.all()]
        processes.replace_python(ZYGOTE_CODE, [*sys.argv[1:4], str(file.fileno())], kept)


def resume(fd: int) -> Heard:
    """What was known before the exec."""
    os.lseek(fd, 0, os.SEEK_SET)
    with open(fd, "rb") as file:
        resume = decode_resume(file.read())
    inherited = Inherited(
        resume.listener_fds, resume.scoreboard_fd, resume.log_fd, resume.access_log_fd, resume.tls_fd
    )
    for kept_fd in inherited.all():
        os.set_inheritable(kept_fd, False)
    return Heard(resume.boot, inherited, resume.unsafe, [])

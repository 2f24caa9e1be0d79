"""Every message there is, by who says it to whom: whole values, with everything in them that could go wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, get_args

import msgspec

from prefork.config.model import Config
from prefork.ipc import messages as say
from prefork.ipc.codec import (
    Reader,
    read_from_admin,
    read_from_chooser,
    read_from_master_as_admin,
    read_from_master_as_chooser,
    read_from_master_as_watcher,
    read_from_master_as_worker,
    read_from_master_as_zygote,
    read_from_watcher,
    read_from_worker,
    read_from_zygote,
)

NASTY = 'a\n"b"\\n\x00\x1b[31m\x7f\u2028é😀'

CONFIG = Config(
    app="shop.web:app",
    name="shop",
    bind=("127.0.0.1:0", "[::1]:8000", "unix:/run/shop.sock", "fd://3"),
    workers=4,
    workers_why="max: 4 CPUs",
    preload="never",
    loop="asyncio",
    interface="wsgi",
    chdir="/srv/shop",
    env={"KEY": NASTY, "": ""},
    timeout_s=0.0,
    graceful_timeout_s=1.25,
    user="nobody",
    umask=0o027,
    pid="/run/shop.pid",
    log_file="/var/log/shop.log",
    access_log="-",
)
BOOT = say.Boot(3, CONFIG)


class Dialogue(NamedTuple):
    """One direction of one channel."""

    name: str
    listen: Callable[[], Reader[Any]]
    union: Any
    messages: list[say.Message]


DIALOGUES = [
    Dialogue(
        "master to zygote",
        read_from_master_as_zygote,
        say.MasterToZygote,
        [
            say.Give("listener", 7),
            say.Give("scoreboard"),
            say.Give("log"),
            say.Give("access-log"),
            BOOT,
            say.Fork(serial=7, slot=1, row=1023, count=4),
            say.ReopenLog(),
            say.ReopenLog("access-log"),
            say.Unlisten(7),
            say.Leave(),
        ],
    ),
    Dialogue(
        "zygote to master",
        read_from_zygote,
        say.ZygoteToMaster,
        [
            say.Imported("shop.web:app", "asgi", preloaded=True, why="", import_ms=812, version="0.1.0"),
            say.Imported("shop.web:app", None, preloaded=False, why=NASTY, import_ms=0),
            say.ImportFailed(NASTY, (NASTY, ""), NASTY * 100),
            say.ImportFailed("no module named shop"),
            say.Forked(7, 4211, has_pidfd=True),
            say.ForkFailed(7, "cannot fork: Resource temporarily unavailable"),
            say.Reaped(7, 4211, 0x8B),
        ],
    ),
    Dialogue(
        "master to worker",
        read_from_master_as_worker,
        say.MasterToWorker,
        [
            say.Drain(NASTY, 30.0, last=True),
            say.Drain("", 0.1, last=False),
            say.Quit(),
            say.ReopenLog(),
            say.ReopenLog("access-log"),
            say.Unlisten(7),
            say.HandOver(),
            say.Deliver(3, msgspec.Raw(b'{"a":[1,"\\n"]}')),
        ],
    ),
    Dialogue(
        "master to watcher",
        read_from_master_as_watcher,
        say.MasterToWatcher,
        [
            say.Watch(
                "shop", ("/srv/shop",), ("/srv/shop/.env",), ("*.html",), (NASTY,), 2**62, "nobody", None
            ),
            say.Watch("shop", (), (), (), (), 0, None, None),
        ],
    ),
    Dialogue(
        "watcher to master",
        read_from_watcher,
        say.WatcherToMaster,
        [
            say.Watching("polling", NASTY, 10_000),
            say.Watching("watchfiles", "", 0),
            say.Changed((NASTY, "main.py"), 50),
        ],
    ),
    Dialogue(
        "master to chooser",
        read_from_master_as_chooser,
        say.MasterToChooser,
        [
            say.LoadStrategy("shop.balance:choose", "shop", ".", "/srv/shop", "nobody", None),
            say.Choose(7, ((0, 12, 3, 1, 99), (1, 4, 0, 0, 0)), ("192.0.2.7", "", "2001:db8::1")),
        ],
    ),
    Dialogue(
        "chooser to master",
        read_from_chooser,
        say.ChooserToMaster,
        [
            say.StrategyLoaded(),
            say.StrategyRefused(NASTY, (NASTY,), NASTY),
            say.Chosen(7, (12, None, 4), NASTY),
        ],
    ),
    Dialogue(
        "master to admin process",
        read_from_master_as_admin,
        say.MasterToAdmin,
        [
            say.ReopenLog(),
            say.GiveAdminListener(),
            say.ServeAdmin(
                name="shop",
                metrics_dir="/dev/shm/prefork-metrics-1",
                is_metrics_dir_ours=True,
                agents=1,
                chdir="/srv/shop",
                log_format="json",
                log_time="utc",
                user="nobody",
                group=None,
            ),
            say.Standing(msgspec.Raw(b'{"name":"shop"}')),
        ],
    ),
    Dialogue(
        "admin process to master",
        read_from_admin,
        say.AdminToMaster,
        [say.AskStanding(), say.AdminLives(), say.AdminNote("left out", NASTY)],
    ),
    Dialogue(
        "worker to master",
        read_from_worker,
        say.WorkerToMaster,
        [
            say.Ready(12, "stream", "shop.lines:serve"),
            say.BootFailed(NASTY, (NASTY,), NASTY),
            say.BootFailed("refused"),
            say.Stacks(),
            say.Draining(NASTY),
            say.Retire(NASTY),
            say.Post(None, msgspec.Raw(b'{"a":[1,"\\n"]}')),
            say.Post(3, msgspec.Raw(b"null")),
            say.Drained(0),
            say.Drained(2**40),
        ],
    ),
]


def types_of(union: Any) -> set[type]:
    """The messages of a dialogue, by type."""
    return set(get_args(union)) or {union}

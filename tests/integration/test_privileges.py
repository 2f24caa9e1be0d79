"""`--user` binds as root and serves as somebody else, for good."""

from __future__ import annotations

import grp
import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import prefork
from tests.integration.conftest import Start
from tests.integration.running import clean_environment, copy_apps, read_title, wait_until
from tests.integration.test_boot_errors import refuse

NOBODY = "nobody"


def find_way_for_nobody() -> tuple[str, ...] | None:
    """What to put before a command so that `nobody` can read this Python: nothing, or a mount namespace of its own.

    What is in root's home cannot be read by anybody else; in a private namespace an empty, open folder takes the
    place of the closed one, with only Python and this tree in it.
    """
    if os.geteuid() != 0:
        return None
    needed = {
        os.path.realpath(path) for path in (sys.base_prefix, sys.prefix, Path(prefork.__file__).parent.parent)
    }
    closed = {path: folder for path in needed if (folder := find_closed_parent(path))}
    way: tuple[str, ...] = ()
    if closed:
        spared = dict(enumerate(closed))
        script = [
            "set -e",
            "spare=$(mktemp -d)",
            "mount -t tmpfs none $spare",
            *(
                f"mkdir $spare/{number}; mount --bind {path} $spare/{number}"
                for number, path in spared.items()
            ),
            *(f"mount -t tmpfs -o mode=755 none {folder}" for folder in set(closed.values())),
            *(f"mkdir -p {path}; mount --bind $spare/{number} {path}" for number, path in spared.items()),
            "umount -l $spare; rmdir $spare",
            'exec "$@"',
        ]
        way = ("unshare", "-m", "sh", "-c", "; ".join(script), "sh")
    as_nobody = (
        "setpriv",
        f"--reuid={NOBODY}",
        "--clear-groups",
        sys.executable,
        "-c",
        "import prefork, httptools",
    )
    done = subprocess.run(
        [*way, *as_nobody], check=False, capture_output=True, cwd="/", env=clean_environment(), timeout=20
    )
    return way if done.returncode == 0 else None


def find_closed_parent(path: str) -> Path | None:
    """The topmost folder above `path` that others may not enter."""
    return next((p for p in reversed(Path(path).parents) if not p.stat().st_mode & stat.S_IXOTH), None)


WAY = find_way_for_nobody()
needs_nobody = pytest.mark.skipif(WAY is None, reason="needs root and a Python that nobody can read")


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that others may enter, unlike pytest's; kept if something is left in it only by failure."""
    folder = Path(tempfile.mkdtemp(prefix="prefork-test-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@needs_nobody
def test_the_app_is_imported_and_served_as_the_user_and_cannot_go_back(
    open_folder: Path, start: Start
) -> None:
    (open_folder / "back.py").write_text(
        "import os\n"
        "from pids import app, describe as before\n"
        "import pids\n"
        "def describe():\n"
        "    try:\n"
        "        os.setuid(0)\n"
        "    except PermissionError:\n"
        "        return before()\n"
        "    return {'uids': 'root again'}\n"
        "pids.describe = describe\n"
    )
    user = pwd.getpwnam(NOBODY)
    socket_path = open_folder / "s.sock"
    running = start(
        "back:app",
        "--user",
        NOBODY,
        "--workers",
        "2",
        "--pid",
        "p.pid",
        "--bind",
        f"unix:{socket_path}",
        folder=open_folder,
        prefix=WAY or (),
    )

    said = running.get().json()

    assert said["uids"] == [user.pw_uid] * 3
    assert said["gids"] == [user.pw_gid] * 3
    assert said["imported_as"] == user.pw_uid
    assert 0 not in said["groups"]
    assert running.master.uids().real == 0
    assert socket_path.stat().st_uid == user.pw_uid
    control = Path(running.find_records("control socket")[0].fields["path"])
    assert (control.stat().st_uid, control.stat().st_mode & 0o777) == (0, 0o600), (
        "the app cannot operate itself"
    )
    assert running.prefork("reload", "--wait").returncode == 0
    assert running.prefork("stop").returncode == 0
    assert running.wait_exit() == 0
    assert not (open_folder / "p.pid").exists()
    assert not socket_path.exists()


@needs_nobody
def test_a_group_alone_can_be_given(open_folder: Path, start: Start) -> None:
    group = grp.getgrgid(pwd.getpwnam(NOBODY).pw_gid)
    running = start(
        "pids:app", "--user", NOBODY, "--group", group.gr_name, folder=open_folder, prefix=WAY or ()
    )

    assert running.get().json()["gids"] == [group.gr_gid] * 3


@needs_nobody
def test_without_root_a_user_is_refused_not_ignored(open_folder: Path) -> None:
    copy_apps(open_folder)
    as_nobody = (*(WAY or ()), "setpriv", f"--reuid={NOBODY}", "--clear-groups")

    code, said = refuse(
        open_folder, "hello_asgi:app", "--bind", "127.0.0.1:0", "--user", "root", prefix=as_nobody
    )

    assert (code, "root" in said) == (77, True), said


@needs_nobody
def test_no_permission_is_said_with_what_to_do(open_folder: Path) -> None:
    copy_apps(open_folder)
    as_nobody = (*(WAY or ()), "setpriv", f"--reuid={NOBODY}", "--clear-groups")

    for arguments in (["--bind", "unix:/etc/s"], ["--bind", "127.0.0.1:0", "--pid", "/etc/p.pid"]):
        code, said = refuse(open_folder, "hello_asgi:app", *arguments, prefix=as_nobody)
        assert code == 77, said
        assert len(said.splitlines()) <= 4, said


@needs_nobody
def test_a_reload_changes_the_user_and_who_owns_the_socket_that_stays(
    open_folder: Path, start: Start
) -> None:
    configuration, socket_path = open_folder / "prefork.toml", open_folder / "s.sock"
    configuration.write_text('bind = ["unix:s.sock"]\n')
    running = start("pids:app", bind=None, folder=open_folder, prefix=WAY or ())
    inode = socket_path.stat().st_ino
    assert running.get().json()["uids"] == [0] * 3

    def reload(generation: int) -> None:
        running.signal(signal.SIGHUP)
        done = f"gen={generation} (serving)"
        wait_until(lambda: read_title(running.master).endswith(done), "the end of the reload")
        running.wait_workers(1)

    for generation, (line, uid) in enumerate(
        [(f'user = "{NOBODY}"\nlog-file = "new.log"\n', pwd.getpwnam(NOBODY).pw_uid), ("", 0)], 2
    ):
        configuration.write_text(f'bind = ["unix:s.sock"]\n{line}')
        reload(generation)
        assert running.get().json()["uids"] == [uid] * 3
        assert (socket_path.stat().st_uid, socket_path.stat().st_ino) == (uid, inode)
    assert (open_folder / "new.log").stat().st_uid == pwd.getpwnam(NOBODY).pw_uid
    assert running.stop() == 0

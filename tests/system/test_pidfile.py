"""The pidfile: ours, or not touched."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from prefork.errors import AddressInUseError, ConfigError, NoPermissionError
from prefork.system.pidfile import write_pidfile
from tests.system.children import BECOME_NOBODY, list_fds, run_python

OURS = f"{os.getpid()}\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "shop.pid"


def test_it_holds_our_pid_until_it_is_removed(path: Path) -> None:
    before = list_fds()
    pidfile = write_pidfile(str(path))
    assert path.read_text() == OURS
    assert path.stat().st_mode & 0o022 == 0, "nobody else may write it"
    pidfile.remove()
    assert not path.exists()
    pidfile.remove()
    assert list_fds() <= before


def find_ended_pid() -> int:
    ended = subprocess.Popen([sys.executable, "-S", "-c", ""])
    ended.wait()
    return ended.pid


@pytest.mark.parametrize(
    "said",
    ["", "\n", "0\n", f"{10**30}\n", OURS, "ended"],
    # A pid in a name would differ between test processes.
    ids=["empty", "blank", "zero", "huge", "ours", "ended"],
)
def test_a_stale_one_is_replaced_whole(path: Path, said: str) -> None:
    path.write_text(f"{find_ended_pid()}   \n\n\n\n" if said == "ended" else said)
    write_pidfile(str(path))
    assert path.read_text() == OURS


def test_a_zombie_holds_no_pidfile(path: Path) -> None:
    zombie = subprocess.Popen([sys.executable, "-S", "-c", ""])
    os.waitid(os.P_PID, zombie.pid, os.WEXITED | os.WNOWAIT)
    path.write_text(f"{zombie.pid}\n")
    write_pidfile(str(path))
    assert path.read_text() == OURS
    zombie.wait()


def test_a_live_one_is_refused_and_stays_as_it_is(path: Path) -> None:
    with subprocess.Popen([sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE) as live:
        path.write_text(f"{live.pid}\n")
        with pytest.raises(AddressInUseError) as refused:
            write_pidfile(str(path))
        assert str(refused.value) == f"the pidfile {path} belongs to pid {live.pid}, which is running"
        assert path.read_text() == f"{live.pid}\n"
        live.send_signal(signal.SIGKILL)


@pytest.mark.parametrize("said", ["hello\n", "-1\n", "12 34\n", "1e3", "²", "x" * 5000])
def test_what_is_no_pidfile_is_never_overwritten(path: Path, said: str) -> None:
    path.write_text(said)
    with pytest.raises(ConfigError) as refused:
        write_pidfile(str(path))
    assert str(refused.value) == (
        f"{path} is not a pidfile: it holds something else\n  choose another path with --pid"
    )
    assert path.read_text() == said


@pytest.mark.parametrize("exists", [True, False])
def test_a_symlink_is_never_followed(path: Path, tmp_path: Path, exists: bool) -> None:
    target = tmp_path / "precious"
    if exists:
        target.write_text("")
    path.symlink_to(target)
    with pytest.raises(ConfigError) as refused:
        write_pidfile(str(path))
    assert str(refused.value) == (
        f"cannot write the pidfile {path}: it is a symbolic link\n  give the path that it points to"
    )
    assert target.exists() is exists
    assert not exists or target.read_text() == ""


def test_a_directory_that_does_not_exist_and_one_that_is_the_path_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="its directory does not exist"):
        write_pidfile(str(tmp_path / "no" / "shop.pid"))
    with pytest.raises(ConfigError, match=f"cannot write the pidfile {tmp_path}: is a directory"):
        write_pidfile(str(tmp_path))


def test_a_directory_we_may_not_write_is_a_permission_error(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    code = f"""
import sys
from prefork.errors import NoPermissionError
from prefork.system.pidfile import write_pidfile
{BECOME_NOBODY}
try:
    write_pidfile(sys.argv[1])
except NoPermissionError as error:
    print(error)
"""
    said = f"cannot write the pidfile {tmp_path}/shop.pid: permission denied"
    assert run_python(code, tmp_path / "shop.pid") == f"{said}\n  choose a directory that you may write\n"
    assert NoPermissionError.exit_code == 77


@pytest.mark.parametrize("said", ["1\n", "", "nonsense", "\xff"])
def test_one_that_is_somebody_elses_by_now_is_not_removed(path: Path, said: str) -> None:
    pidfile = write_pidfile(str(path))
    path.write_text(said)
    pidfile.remove()
    assert path.read_text() == said


def test_one_in_a_directory_that_is_gone_removes_in_silence(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    pidfile = write_pidfile(str(folder / "shop.pid"))
    (folder / "shop.pid").unlink()
    folder.rmdir()
    pidfile.remove()

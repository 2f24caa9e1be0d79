"""systemd itself, as PID 1 of namespaces of its own: our units run under it as they are, the machine does not notice.

It sees this machine's programs, and has places of its own for all that it writes: /run, /srv, /var/lib, its cgroups,
its network. Of units it knows only those that it is given, so it mounts nothing and sets no sysctl.
Whatever happens, its end is everybody's: with the first process of a PID namespace the kernel kills all others, and
that one dies with its parent.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import uuid
from contextlib import AbstractContextManager, suppress
from pathlib import Path

import psutil

import prefork
from tests.integration.namespaces import RAISE_LOOPBACK, reaching, write_environment
from tests.integration.running import NotInTimeError, clean_environment, copy_apps, wait_until

UNITS = Path(__file__).parents[2] / "conf/systemd"
PROGRAM = Path("/lib/systemd/systemd")
JOURNAL = [
    PROGRAM.parent / "system/systemd-journald.service",
    PROGRAM.parent / "system/systemd-journald.socket",
]
TARGETS = ("basic", "multi-user", "network-online", "shutdown", "sockets", "sysinit", "umount")
TARGET = "[Unit]\nDefaultDependencies=no\n"
WANTS_JOURNAL = "Wants=systemd-journald.service systemd-journald.socket\n"
UP_TIMEOUT_S = 15.0

# Services see neither root's home nor this /tmp: Python, its packages and prefork are shown to them below /srv.
BECOME_INIT = r"""
set -e
folder=$1 base=$2 packages=$3 code=$4
mount --make-rprivate /
mount -t tmpfs -o mode=755 none /srv
cp -R "$folder/." /srv
for place in base packages code; do mkdir /srv/$place; done
mount --bind "$base" /srv/base
mount --bind "$packages" /srv/packages
mount --bind "$code" /srv/code
for place in /run /var/lib /var/cache /var/log; do mount -t tmpfs -o mode=755 none $place; done
umount -R /sys/fs/cgroup
mount -t cgroup2 none /sys/fs/cgroup
/srv/base/bin/python3 -c "$5"
exec env -i PATH="$PATH" container=other SYSTEMD_UNIT_PATH=/srv/units \
  /lib/systemd/systemd --system --unit=multi-user.target --show-status=no
"""
DROP_IN = """\
[Service]
Environment=PYTHONPATH=/srv/code LD_LIBRARY_PATH=/srv/base/lib PYTHONDONTWRITEBYTECODE=1
"""


class UnavailableError(Exception):
    """Why there is none here."""


class RealSystemd:
    """It is up, and knows the units of conf/systemd. Raises `UnavailableError`."""

    def __init__(self) -> None:
        if os.geteuid() != 0:
            raise UnavailableError("needs root")
        missing = [
            name for name in ("unshare", "nsenter", "setpriv", "journalctl") if shutil.which(name) is None
        ]
        missing += [str(path) for path in (PROGRAM, *JOURNAL) if not path.exists()]
        if missing:
            raise UnavailableError(f"needs {', '.join(missing)}")
        self._cgroup = make_cgroup()
        self._folder = Path(tempfile.mkdtemp(prefix="prefork-systemd-"))
        write_machine(self._folder / "srv")
        said = self._folder / "said"
        with said.open("wb") as output:
            self._process = subprocess.Popen(
                [
                    *("setpriv", "--pdeathsig", "KILL"),
                    *("sh", "-c", 'echo $$ >"$0/cgroup.procs" && exec "$@"', str(self._cgroup)),
                    *("unshare", "--fork", "--kill-child", "--pid", "--mount", "--mount-proc"),
                    *("--uts", "--ipc", "--net", "--cgroup"),
                    *("sh", "-c", BECOME_INIT, "sh", str(self._folder / "srv"), sys.base_prefix),
                    *(
                        sysconfig.get_path("purelib"),
                        str(Path(prefork.__file__).parent.parent),
                        RAISE_LOOPBACK,
                    ),
                ],
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self._init = psutil.Process(self._process.pid)
        try:
            wait_until(self._become_up, "it is up", UP_TIMEOUT_S, poll_s=0.05)
        except (NotInTimeError, UnavailableError) as error:
            words = said.read_text(errors="replace")[-500:].strip()
            self.close()
            raise UnavailableError(f"systemd does not come up in namespaces: {error}: {words!r}") from None

    def close(self) -> None:
        """End all of it."""
        with suppress(psutil.NoSuchProcess):
            self._init.kill()  # and the kernel everybody else
        self._process.kill()
        self._process.wait(10)
        wait_until(lambda: remove_cgroup(self._cgroup), "the end of everybody in its cgroup")
        shutil.rmtree(self._folder)

    @property
    def root(self) -> Path:
        """Its file system, from outside."""
        return Path(f"/proc/{self._init.pid}/root")

    def add_app(self, name: str, configuration: str, *, unit: str = "", socket: str = "") -> Path:
        """The folder of a new app, with all apps of the tests in it; what its units say differently."""
        folder = self.root / "srv" / name
        folder.mkdir()
        (folder / ".venv").symlink_to("../venv")
        copy_apps(folder)
        (folder / "prefork.toml").write_text(configuration)
        for kind, text in (("service", unit), ("socket", socket)):
            drop_ins = self.root / f"srv/units/prefork@{name}.{kind}.d"
            drop_ins.mkdir()
            (drop_ins / "test.conf").write_text(text)
        self.systemctl("daemon-reload")
        return folder

    def enter(self, *command: str) -> list[str]:
        """A command line for inside."""
        return ["nsenter", f"--target={self._init.pid}", *("-m", "-p", "-n", "-C", "-i", "-u"), *command]

    def run(
        self, *command: str, check: bool = True, timeout_s: float = 30.0
    ) -> subprocess.CompletedProcess[str]:
        """Run a command inside."""
        done = subprocess.run(
            self.enter(*command),
            check=False,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            env=clean_environment(),
        )
        assert done.returncode == 0 or not check, f"{command}: {done}\n{self.read_journal()}"
        return done

    def systemctl(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.run("systemctl", "--no-pager", *words, check=check)

    def show(self, unit: str, name: str) -> str:
        """One property of a unit."""
        return self.systemctl("show", "--value", "--property", name, unit).stdout.strip()

    def read_journal(self, *words: str) -> str:
        """Everything that it has written since it is up."""
        done = subprocess.run(
            self.enter("journalctl", "--no-pager", "--boot=all", "-o", "cat", *words),
            check=False,
            capture_output=True,
            text=True,
            timeout=30,
        )
        return done.stdout + done.stderr

    def reaching(self) -> AbstractContextManager[None]:
        """Open sockets in its network."""
        return reaching(self._init.pid)

    def _become_up(self) -> bool:
        """Raises `UnavailableError` if it has ended."""
        if self._process.poll() is not None:
            raise UnavailableError(f"exit {self._process.returncode}")
        for child in psutil.Process(self._process.pid).children():
            self._init = child
        if not (Path("/proc") / str(self._init.pid) / "root/run/systemd/private").exists():
            return False
        return "running" in self.systemctl("is-system-running", check=False).stdout


def make_cgroup() -> Path:
    """A new one below our own. Raises `UnavailableError`."""
    own = re.search(r"^0::(/.*)$", Path("/proc/self/cgroup").read_text(), re.MULTILINE)
    mounted = re.search(
        r"^\S+ \S+ \S+ (\S+) (\S+) .*? - cgroup2 ", Path("/proc/self/mountinfo").read_text(), re.MULTILINE
    )
    if own is None or mounted is None:
        raise UnavailableError("needs cgroup v2")
    root, mount = mounted.groups()
    cgroup = Path(mount) / os.path.relpath(own[1], root) / f"prefork-test-{uuid.uuid4()}"
    try:
        cgroup.mkdir()
    except OSError as error:
        raise UnavailableError(f"needs a cgroup of its own: {error}") from None
    return cgroup


def remove_cgroup(cgroup: Path) -> bool:
    """And those below it. False while somebody is in one of them: the kernel takes a moment."""
    try:
        for folder, _, _ in os.walk(cgroup, topdown=False):
            Path(folder).rmdir()
    except OSError:
        return False
    return True


def write_machine(folder: Path) -> None:
    """What is in /srv at boot: the units, and an environment with prefork in it for all apps."""
    units = folder / "units"
    units.mkdir(parents=True)
    for unit in [*JOURNAL, *UNITS.iterdir()]:
        shutil.copy(unit, units)
    for name in TARGETS:
        (units / f"{name}.target").write_text(TARGET + (WANTS_JOURNAL if name == "multi-user" else ""))
    (units / "prefork@.service.d").mkdir()
    (units / "prefork@.service.d/python.conf").write_text(DROP_IN)

    write_environment(folder / "venv", "/srv/venv", base="/srv/base", packages="/srv/packages")

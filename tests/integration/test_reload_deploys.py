"""Deploys that turn a symbolic link round and reload: a new environment, a new release, a new prefork."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

import prefork
from tests.integration.conftest import Start
from tests.integration.running import Running

TELLING_APP = """
import sys
from pathlib import Path

import dependency
import prefork

def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{dependency.VERSION} {prefork.__version__} {Path(sys.prefix).resolve().name}".encode()]
"""
RELEASE_APP = """
from pathlib import Path

def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"release RELEASE in {Path.cwd().name}".encode()]
"""


@pytest.fixture(scope="module")
def environments(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two virtual environments with a prefork, a dependency and scripts of their own."""
    folder = tmp_path_factory.mktemp("environments")
    for number in (1, 2):
        make_environment(folder / f"venv-{number}", number)
    return folder


def make_environment(folder: Path, number: int) -> None:
    venv.create(folder, symlinks=True)
    python = folder / "bin" / "python"
    site = next(folder.glob("lib/python*/site-packages"))
    (site / "others.pth").write_text(sysconfig.get_paths()["purelib"])
    assert prefork.__file__
    shutil.copytree(Path(prefork.__file__).parent, site / "prefork")
    (site / "dependency.py").write_text(f"VERSION = {number}\n")
    edit(site / "prefork" / "__init__.py", f'"{prefork.__version__}"', f'"{number}.0.0"')
    script = folder / "bin" / "prefork"
    script.write_text(f"#!{python}\nimport sys\nfrom prefork.cli.main import main\nsys.exit(main())\n")
    script.chmod(0o755)


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def turn(link: Path, target: str) -> None:
    """As deploys do it: there is never no link."""
    fresh = link.with_name("fresh")
    fresh.symlink_to(target)
    fresh.rename(link)


def run_instead(command: str) -> tuple[str, ...]:
    """A prefix that makes a shell run `command` instead of `python -m prefork`."""
    return ("sh", "-c", f'shift 2; {command} "$@"')


def reload(running: Running) -> None:
    done = len(running.find_records("reloaded"))
    running.signal(signal.SIGHUP)
    told = running.wait_for_record("reloaded", count=done + 1)
    running.wait_workers(int(told.fields["workers"]))


@pytest.mark.parametrize(
    "command",
    [
        "venv/bin/prefork",
        "$PWD/venv/bin/prefork",
        "venv/bin/python -m prefork",
        "$PWD/venv/bin/python -m prefork",
    ],
)
def test_a_reload_runs_the_environment_that_the_link_leads_to_now(
    start: Start, tmp_path: Path, environments: Path, command: str
) -> None:
    (tmp_path / "telling.py").write_text(TELLING_APP)
    turn(tmp_path / "venv", str(environments / "venv-1"))
    running = start(
        "telling:app", prefix=run_instead(f"exec {command}"), env={"PYTHONPATH": "", "PWD": str(tmp_path)}
    )
    assert running.get().body == b"1 1.0.0 venv-1"

    turn(tmp_path / "venv", str(environments / "venv-2"))
    reload(running)

    assert running.get().body == b"2 2.0.0 venv-2"
    assert running.find_records("app imported")[-1].fields["prefork"] == "2.0.0"
    assert running.stop() == 0


def test_a_prefork_that_speaks_another_protocol_fails_the_reload_and_says_what_to_do(
    start: Start, tmp_path: Path, environments: Path
) -> None:
    (tmp_path / "telling.py").write_text(TELLING_APP)
    shutil.copytree(environments / "venv-2", tmp_path / "venv-3", symlinks=True)
    site = next((tmp_path / "venv-3").glob("lib/python*/site-packages"))
    edit(site / "prefork" / "ipc" / "starting.py", "\nPROTOCOL = ", "\nPROTOCOL = 9")
    edit(site / "prefork" / "ipc" / "messages.py", 'tag="boot"', 'tag="begin"')
    turn(tmp_path / "venv", str(environments / "venv-1"))
    running = start("telling:app", prefix=run_instead("exec venv/bin/prefork"), env={"PYTHONPATH": ""})

    turn(tmp_path / "venv", "venv-3")
    running.signal(signal.SIGHUP)

    failed = running.wait_for_record("reload failed")
    assert "prefork 2.0.0 speaks another protocol" in failed.fields["why"]
    assert "restart the service" in failed.fields["why"]
    assert running.get().body == b"1 1.0.0 venv-1"


def test_an_environment_that_is_gone_fails_the_reload(
    start: Start, tmp_path: Path, environments: Path
) -> None:
    (tmp_path / "telling.py").write_text(TELLING_APP)
    turn(tmp_path / "venv", str(environments / "venv-1"))
    running = start("telling:app", prefix=run_instead("exec venv/bin/prefork"), env={"PYTHONPATH": ""})

    turn(tmp_path / "venv", "nowhere")
    running.signal(signal.SIGHUP)

    running.wait_for_record("reload failed")
    assert f"{tmp_path}/venv/bin/python" in running.log
    assert running.get().body == b"1 1.0.0 venv-1"


@pytest.mark.parametrize("arguments", [(), ("--chdir", "{current}")], ids=["cd", "--chdir"])
def test_a_reload_serves_the_release_that_current_leads_to_now(
    start: Start, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    current = tmp_path / "current"
    for number in ("1", "2"):
        release = tmp_path / "releases" / number
        release.mkdir(parents=True)
        (release / "shop.py").write_text(RELEASE_APP.replace("RELEASE", number))
        (release / "prefork.toml").write_text(f"workers = {number}\n")
    turn(current, "releases/1")
    given = [argument.format(current=current) for argument in arguments]
    enter = f"cd '{current}' && " if not arguments else ""
    running = start("shop:app", *given, prefix=run_instead(f"{enter}exec {sys.executable} -m prefork"))
    assert running.get().body == b"release 1 in 1"

    turn(current, "releases/2")
    shutil.rmtree(tmp_path / "releases" / "1")
    reload(running)

    assert running.get().body == b"release 2 in 2"
    assert arguments or len(running.workers) == 2, "and its prefork.toml"
    assert os.path.realpath(current) == str(tmp_path / "releases" / "2")
    assert running.stop() == 0

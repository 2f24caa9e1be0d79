"""One environment per Python under .bench/: this tree and its peers, installed as users install them.

Peers are installed one by one, and what cannot be had on a Python is a note, not the end of the run.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from errors import BenchError
from servers import PEERS, WELCOME

ROOT = Path(__file__).resolve().parents[2]
SHOWN = (
    "prefork",
    "uvicorn",
    "gunicorn",
    "gunicorn_h1c",
    "granian",
    "fastpysgi",
    "pyuwsgi",
    "hypercorn",
    "uvloop",
    "httptools",
    "starlette",
    "flask",
)
RECORD = "bench.json"
"""In the environment's folder: what was installed, and what could not be."""
INSTALL_TIMEOUT_S = 600


@dataclass(frozen=True)
class Environment:
    python: str
    """Its version, `3.13.0`."""
    bin: Path
    versions: dict[str, str]
    """Of what is measured here, and of what that runs on."""
    notes: list[str]
    """What could not be had."""


def describe_python(python: str) -> str:
    """The version of an interpreter that may be used; the error says why not."""
    code = "import sys; print('%d.%d.%d' % sys.version_info[:3]); sys.exit(sys.version_info < (3, 10))"
    try:
        done = subprocess.run([python, "-c", code], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BenchError(f"{python} does not run: {error}") from error
    if done.returncode != 0:
        raise BenchError(f"{python} is no Python >= 3.10: {done.stdout}{done.stderr}".strip())
    return done.stdout.strip()


def find_pythons() -> list[str]:
    """The Python of this environment and the newest that runs here, as paths; one, if they are the same."""
    current = getattr(sys, "_base_executable", sys.executable)
    found = {parse(describe_python(current)): current}
    names = [f"python3.{minor}" for minor in range(10, 30)]
    pyenv = sorted(map(str, Path.home().glob(".pyenv/versions/3.*/bin/python")))
    for python in [*filter(None, map(shutil.which, names)), *pyenv]:
        try:
            found.setdefault(parse(describe_python(python)), python)
        except BenchError:
            continue  # an old one, or a shim of pyenv's for one that is not selected
    newest = found[max(found)]
    return [current] if newest == current else [current, newest]


def parse(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def prepare(python: str, *, fresh: bool) -> Environment:
    """Make the environment of a Python, or bring the one that is there up to this tree."""
    version = describe_python(python)
    folder = ROOT / ".bench" / f"python-{version}"
    record = folder / RECORD
    wanted = {"peers": list(PEERS), "welcome": WELCOME}
    known = json.loads(record.read_text()) if record.exists() else {}
    if fresh or {key: known.get(key) for key in wanted} != wanted:
        shutil.rmtree(folder, ignore_errors=True)
        run([python, "-m", "venv", str(folder)])
        run([*pip(folder), "install", "--quiet", str(ROOT)])
        known = wanted | {"notes": [*add_peers(folder), *add_extras(folder)]}
        record.write_text(json.dumps(known))
    else:
        run([*pip(folder), "install", "--quiet", "--no-deps", "--force-reinstall", str(ROOT)])
    installed = list_packages(folder)
    versions = {name: installed[name] for name in SHOWN if name in installed}
    notes = list(known["notes"])
    if nginx := find_nginx_version():
        versions["nginx"] = nginx
    else:
        notes.append("nginx is not installed (Debian: apt-get install nginx-light): one ceiling less")
    return Environment(version, folder / "bin", versions, notes)


def add_peers(folder: Path) -> list[str]:
    """Notes on those that cannot be installed."""
    notes = []
    for peer in PEERS:
        try:
            run([*pip(folder), "install", "--quiet", peer])
        except BenchError as error:
            reason = str(error).strip().splitlines()[-1]
            notes.append(f"{peer} cannot be installed here and is left out: {reason}")
    return notes


def add_extras(folder: Path) -> list[str]:
    """Give each peer its faster parts, not at the price of an older peer; notes on those that cannot be had."""
    installed, notes = list_packages(folder), []
    for package, extra in WELCOME.items():
        if package not in installed:
            continue
        wanted = f"{package}[{extra}]=={installed[package]}"
        try:
            run([*pip(folder), "install", "--quiet", wanted])
        except BenchError:
            notes.append(f"{wanted} cannot be installed here: {package} is measured without it")
    return notes


def find_nginx_version() -> str:
    """Empty without nginx."""
    if shutil.which("nginx") is None:
        return ""
    done = subprocess.run(["nginx", "-v"], capture_output=True, text=True, timeout=10, check=False)
    found = re.search(r"nginx/([\d.]+)", done.stderr)
    return found[1] if found else "?"


def list_packages(folder: Path) -> dict[str, str]:
    listed = json.loads(run([*pip(folder), "list", "--format", "json"]))
    return {package["name"].lower(): package["version"] for package in listed}


def pip(folder: Path) -> list[str]:
    return [str(folder / "bin" / "python"), "-m", "pip", "--disable-pip-version-check"]


def run(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise BenchError(f"{' '.join(command)}: not done after {INSTALL_TIMEOUT_S} s") from error
    if done.returncode != 0:
        raise BenchError(f"{' '.join(command)}: exit {done.returncode}\n{done.stderr[-2000:]}")
    return done.stdout

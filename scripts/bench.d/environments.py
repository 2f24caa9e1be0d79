"""One environment per Python under .bench/: this tree and its peers, installed as users install them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from servers import PEERS, WELCOME

ROOT = Path(__file__).resolve().parents[2]
SHOWN = ("prefork", "uvicorn", "gunicorn", "gunicorn_h1c", "granian", "hypercorn", "uvloop", "httptools")
INSTALL_TIMEOUT_S = 600


@dataclass(frozen=True)
class Environment:
    python: str
    """Its version, `3.13.0`."""
    bin: Path
    versions: dict[str, str]


def describe_python(python: str) -> str:
    """The version of an interpreter that may be used; the error says why not."""
    code = "import sys; print('%d.%d.%d' % sys.version_info[:3]); sys.exit(sys.version_info < (3, 10))"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, timeout=30, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{python} is no Python >= 3.10: {done.stdout}{done.stderr}".strip())
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
        except RuntimeError:
            continue  # an old one, or a shim of pyenv's for one that is not selected
    newest = found[max(found)]
    return [current] if newest == current else [current, newest]


def parse(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def prepare(python: str, *, fresh: bool) -> Environment:
    """Make the environment of a Python, or bring the one that is there up to this tree."""
    version = describe_python(python)
    folder = ROOT / ".bench" / f"python-{version}"
    if fresh and folder.exists():
        shutil.rmtree(folder)
    if not (folder / "bin" / "granian").exists():
        run([python, "-m", "venv", str(folder)])
        run([*pip(folder), "install", "--quiet", *PEERS, str(ROOT)])
        add_extras(folder)
    else:
        run([*pip(folder), "install", "--quiet", "--no-deps", "--force-reinstall", str(ROOT)])
    installed = list_packages(folder)
    versions = {name: installed[name] for name in SHOWN if name in installed}
    return Environment(version, folder / "bin", versions)


def add_extras(folder: Path) -> None:
    """Give each peer its faster parts; not at the price of an older peer."""
    installed = list_packages(folder)
    for package, extra in WELCOME.items():
        wanted = f"{package}[{extra}]=={installed[package]}"
        try:
            run([*pip(folder), "install", "--quiet", wanted])
        except RuntimeError:
            print(f"note     {wanted} cannot be installed here: {package} is measured without it")


def list_packages(folder: Path) -> dict[str, str]:
    listed = json.loads(run([*pip(folder), "list", "--format", "json"]))
    return {package["name"].lower(): package["version"] for package in listed}


def pip(folder: Path) -> list[str]:
    return [str(folder / "bin" / "python"), "-m", "pip", "--disable-pip-version-check"]


def run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_TIMEOUT_S, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: exit {done.returncode}\n{done.stderr[-2000:]}")
    return done.stdout

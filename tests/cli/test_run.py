"""From a command line, or a call, to a master that is given its configuration."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from pathlib import Path

import pytest

import prefork
from prefork.cli.main import main
from prefork.config.model import Config


class FakeMaster(types.ModuleType):
    """Stands for `prefork.master.running`: notes what it was given, and ends as told."""

    def __init__(self) -> None:
        super().__init__("prefork.master.running")
        self.config: Config | None = None
        self.reread: Callable[[], Config] | None = None
        self.code = 0

    def run_master(self, config: Config, reread: Callable[[], Config], *_: object) -> int:
        self.config, self.reread = config, reread
        return self.code


@pytest.fixture
def master(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeMaster:
    fake = FakeMaster()
    monkeypatch.setitem(sys.modules, "prefork.master.running", fake)
    monkeypatch.chdir(tmp_path)
    return fake


@pytest.mark.parametrize(
    "arguments",
    [
        ("main:app", "-w", "3"),
        ("-w", "3", "main:app"),
        ("run", "main:app", "--workers=3"),
        ("run", "-w3", "--", "main:app"),
        ("--instances", "3", "main:app"),
        ("-i", "3", "main:app"),
    ],
)
def test_every_way_to_write_it_runs_the_same_master(
    arguments: tuple[str, ...], master: FakeMaster, tmp_path: Path
) -> None:
    assert main(arguments) == 0
    assert master.config == Config(app="main:app", name=master.config.name, workers=3, chdir=str(tmp_path))  # type: ignore[union-attr]  # None would not equal


def test_the_masters_exit_code_is_the_programs(master: FakeMaster) -> None:
    master.code = 75
    assert main(["main:app"]) == 75


def test_the_master_can_read_the_configuration_again(master: FakeMaster, tmp_path: Path) -> None:
    main(["main:app", "-b", ":0"])
    assert master.reread is not None
    (tmp_path / "prefork.toml").write_text("threads = 4\n")
    config = master.reread()
    assert (config.threads, config.bind) == (4, ("0.0.0.0:0",))


@pytest.mark.parametrize(("log_format", "said"), [("auto", True), ("json", False)])
def test_what_was_found_is_said_unless_every_line_must_be_a_record(
    log_format: str, said: bool, master: FakeMaster, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "app.py").write_text("def app(environ, start_response): ...\n")
    assert main(["--log-format", log_format]) == 0
    assert capsys.readouterr().err == (
        f"prefork: no APP given, found app:app in {tmp_path}\n" if said else ""
    )


def test_gunicorns_command_line_carries_over(master: FakeMaster) -> None:
    line = (
        "shop.wsgi:application -b 0.0.0.0:80 -b unix:/run/shop.sock -w 4 -k gthread --threads 8 -t 60"
        " --graceful-timeout 20 --keep-alive 2 --backlog 100 -u www -g www -m 007 -p /run/shop.pid -n shop"
        " -e A=1 -e B=2 --pythonpath src --chdir / --log-level WARNING --error-logfile -"
        " --limit-request-line 4094 --limit-request-fields 50 --limit-request-field_size 1000"  # as gunicorn spells it
    )
    assert main(line.split()) == 0
    assert master.config == Config(
        app="shop.wsgi:application",
        name="shop",
        bind=("0.0.0.0:80", "unix:/run/shop.sock"),
        workers=4,
        interface="wsgi",
        threads=8,
        timeout_s=60,
        graceful_timeout_s=20,
        keep_alive_s=2,
        backlog=100,
        user="www",
        group="www",
        umask=0o007,
        pid="/run/shop.pid",
        env={"A": "1", "B": "2"},
        app_dir="src",
        chdir="/",
        log_level="warning",
        limit_request_line_bytes=4094,
        limit_request_fields=50,
        limit_request_field_size_bytes=1000,
    )


def test_uvicorns_command_line_carries_over(master: FakeMaster) -> None:
    line = (
        "shop:create --factory --host :: --port 80 --workers 2 --app-dir src --loop asyncio --root-path /api"
        " --timeout-keep-alive 7 --timeout-graceful-shutdown 9 --no-server-header --no-date-header"
    )
    assert main([*line.split(), "--chdir", "/"]) == 0
    assert master.config == Config(
        app="shop:create",
        name="shop",
        factory=True,
        bind=("[::]:80",),
        workers=2,
        app_dir="src",
        chdir="/",
        loop="asyncio",
        root_path="/api",
        keep_alive_s=7,
        graceful_timeout_s=9,
        server_header=False,
        date_header=False,
    )


def test_pm2s_options_carry_over_with_its_units(master: FakeMaster) -> None:
    line = "shop:app -i 2 -n shop --kill-timeout 1600 --listen-timeout 8000 --chdir / --max-restarts 5 --min-uptime 5s"
    assert main(line.split()) == 0
    assert master.config == Config(
        app="shop:app",
        name="shop",
        workers=2,
        graceful_timeout_s=1.6,
        boot_timeout_s=8,
        chdir="/",
        max_restarts=5,
        min_uptime_s=5,
    )


def test_run_is_the_command_line_as_a_call(master: FakeMaster) -> None:
    master.code = 1
    assert prefork.run("shop:app", bind=":0", chdir="/", factory=True) == 1
    assert master.config == Config(app="shop:app", name="shop", bind=("0.0.0.0:0",), chdir="/", factory=True)


def test_the_public_names_are_these() -> None:
    assert prefork.__all__ == [
        "__version__",
        "on_message",
        "on_shutdown",
        "on_worker_start",
        "ready",
        "retire",
        "run",
        "send",
        "worker",
    ]


def test_the_master_goes_on_with_its_table_when_the_file_gets_others(
    master: FakeMaster, tmp_path: Path
) -> None:
    file = tmp_path / "prefork.toml"
    file.write_text('[app.shop]\napp = "shop:app"\n')
    assert main([]) == 0
    file.write_text('[app.api]\napp = "api:app"\n[app.shop]\napp = "shop:other"\n')
    assert master.reread is not None
    assert master.reread().app == "shop:other"

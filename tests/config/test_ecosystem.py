"""PM2's ecosystem files: values are read as PM2 reads them, code is refused by its line."""

from __future__ import annotations

import json

import pytest

from prefork.cli.cutting import cut_service_words
from prefork.config.ecosystem import parse_object, read_ecosystem
from prefork.errors import ConfigError

JAVASCRIPT = """\
// how PM2 ran it
module.exports = {
  apps: [{
    name: 'api', /* it's a name */
    script: "gunicorn", args: 'main:app -w 4 --bind :8000',
    min_uptime: 5000, kill_timeout: 3000, exec_mode: 'cluster', autorestart: true,
    env: { DEBUG: true, NAME: 'it\\'s "x"' },
    env_production: { LEVEL: 2, },
    cron_restart: '0 3 * * *',
  },],
};
"""


def test_an_app_is_read_with_its_command_line_its_keys_and_its_profiles() -> None:
    (app,) = read_ecosystem(JAVASCRIPT, "ecosystem.config.js", cut_service_words)
    assert app.name == "api"
    assert app.read.keys == {
        "app": "main:app",
        "workers": "4",
        "bind": (":8000",),
        "name": "api",
        "min-uptime": "5000ms",
        "kill-timeout": 3000,
        "env": {"DEBUG": "true", "NAME": 'it\'s "x"'},
    }
    assert app.profiles == {"production": {"LEVEL": 2}}
    assert [left.name for left in app.read.left] == ["cron_restart"]


@pytest.mark.parametrize(
    ("script", "args", "keys", "left"),
    [
        ("main.py", "", {"app": "main.py"}, []),
        ("./main.py", "", {"app": "main.py"}, []),
        ("python3", "-m uvicorn main:app --port 80", {"app": "main:app", "port": "80"}, []),
        ("/srv/venv/bin/uvicorn", ["main:app", "--workers=2"], {"app": "main:app", "workers": "2"}, []),
        ("gunicorn", "main:app --statsd-host x", {}, ["script"]),
        ("server.js", "", {}, ["script"]),
    ],
)
def test_what_is_run_is_found_in_the_script(
    script: str, args: object, keys: dict[str, object], left: list[str]
) -> None:
    text = json.dumps({"apps": [{"name": "a", "script": script, "args": args}]})
    (app,) = read_ecosystem(text, "ecosystem.config.json", cut_service_words)
    assert {key: value for key, value in app.read.keys.items() if key != "name"} == keys
    assert [each.name for each in app.read.left] == left


@pytest.mark.parametrize(
    ("text", "line", "word"),
    [
        ("module.exports = {\n  apps: [{ name: process.env.NAME }] }", 2, "process"),
        ("const x = 1\nmodule.exports = {}", 1, "const"),
        ("module.exports = { apps: [require('x')] }", 1, "require"),
        ("module.exports = {\n\n a: `t` }", 3, "`t`"),
        ("module.exports = { a: 1 + 1 }", 1, "+"),
        ("module.exports = () => ({})", 1, "()"),
    ],
)
def test_code_is_refused_by_its_line(text: str, line: int, word: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse_object(text, "e.js")
    assert refused.value.message == f"e.js, line {line}: {word!r} would have to be run"


def test_a_file_without_apps_is_refused() -> None:
    with pytest.raises(ConfigError, match="no apps in it"):
        read_ecosystem('{"dependencies": {}}', "package.json", cut_service_words)

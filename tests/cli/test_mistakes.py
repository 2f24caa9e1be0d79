"""Every mistake: the right exit code, at most four lines that say what to do, and no traceback of ours."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.program import Ended, run_program

DAEMON = "error: unknown option --daemon\n  prefork start runs it in the background\n"
NO_VALUE = "  a switch has no value: --ws-per-message-deflate is true, --no-ws-per-message-deflate is false\n"
MISTAKES: list[tuple[tuple[str | bytes, ...], int, str]] = [
    (("--wrokers", "4", "main:app"), 2, "error: unknown option --wrokers\n  did you mean --workers?\n"),
    (
        ("main:app", "--log-config", "x"),
        2,
        "error: unknown option --log-config\n  log lines are set by --log-format, --log-level and --log-file\n",
    ),
    (("main:app", "--daemon"), 2, DAEMON),
    (("--xyzzy",), 2, "error: unknown option --xyzzy\n  see prefork --help\n"),
    (
        ("run", "main:app", "more"),
        2,
        'error: unexpected argument "more"\n  prefork serves one APP; options begin with --, see prefork --help\n',
    ),
    (
        ("main:app", "--ws-per-message-deflate", "false"),
        2,
        f'error: unexpected argument "false"\n{NO_VALUE}',
    ),
    (("reload", "--bogus"), 2, "error: unknown option --bogus\n  see prefork reload --help\n"),
    (("status", "shop", "api"), 2, 'error: unexpected argument "api"\n  see prefork status --help\n'),
    (
        ("logs", "-n", "many"),
        2,
        "error: --lines: a number from 0 on is needed\n  see prefork logs --help\n",
    ),
    (
        ("completion", "tcsh"),
        2,
        "error: SHELL: 'tcsh' is not one of 'bash', 'zsh', 'fish'.\n  see prefork completion --help\n",
    ),
    (("completion",), 2, "error: what is missing: {bash|zsh|fish}\n  see prefork completion --help\n"),
    (
        ("scale",),
        2,
        "error: to how many workers?\n  prefork scale [NAME] 4, +2, -1 or max\n",
    ),
    (("main:app", "-w"), 2, "error: -w needs a value\n  write -w N|max|max-1|50%\n"),
    (("main:app", "--preload"), 2, "error: --preload needs a value\n  write --preload auto|always|never\n"),
    (
        ("main:app", "--access_log"),
        2,
        (
            "error: --access-log needs a value\n"
            "  --access-log - writes to standard output, --access-log PATH to a file\n"
        ),
    ),
    (("main:app", "-c"), 2, "error: -c needs a value\n  write -c FILE\n"),
    (
        ("main:app", "--access-log-format", "json"),
        2,
        (
            'error: --access-log-format "json": no atom in it: every line would be the same\n'
            "  --log-format json makes each line an object\n"
            "  accepted: text with %(h)s %(r)s %(s)s …\n"
        ),
    ),
    (
        ("main:app", "-w", "0"),
        2,
        'error: --workers "0": below 1\n  accepted: a number from 1, max (one per CPU), max-1, 50%\n',
    ),
    (
        ("main:app", "-k", "gevent"),
        2,
        (
            'error: --worker-class "gevent": gevent workers are not supported\n'
            "  use threads in its place: --threads 32\n"
            "  accepted: sync, gthread, asgi, uvicorn (better: leave it out, the interface is detected)\n"
        ),
    ),
    (
        (b"\xff:app",),
        2,
        'error: APP "\\udcff:app": holds control bytes or is not UTF-8\n  accepted: printable UTF-8 text\n',
    ),
    (
        ("chek",),
        2,
        (
            "error: no command chek, and no app of that name here\n"
            "  did you mean prefork check?        an app is module:attr or path/to/app.py\n"
        ),
    ),
    (
        ("-c", "nope.toml"),
        78,
        "error: cannot read nope.toml: no such file or directory\n  it would be {cwd}/nope.toml\n",
    ),
    (
        ("-c", "gunicorn.conf.py"),
        78,
        (
            "error: gunicorn.conf.py:2: RuntimeError: no database\n"
            "  a gunicorn.conf.py is run as gunicorn runs it\n"
        ),
    ),
    (("-c", "folder"), 78, "error: cannot read folder: is a directory\n  it would be {cwd}/folder\n"),
    (
        ("-c", "broken.toml"),
        78,
        "error: broken.toml, line 2, column 11: invalid value\n  workers = max\n",
    ),
    (
        ("-c", "misspelt.toml"),
        78,
        "error: misspelt.toml: unknown option grace-timeout\n  did you mean graceful-timeout?\n",
    ),
    (("main:app", "--env-file", "nope"), 78, "error: cannot read {cwd}/nope: no such file or directory\n"),
    (
        ("main:app", "--chdir", "nope"),
        78,
        "error: cannot work in {cwd}/nope: no such directory\n  set chdir to one that is there\n",
    ),
]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "folder").mkdir()
    (tmp_path / "gunicorn.conf.py").write_text("workers = 2\nraise RuntimeError('no database')\n")
    (tmp_path / "broken.toml").write_text("threads = 1\nworkers = max\n")
    (tmp_path / "misspelt.toml").write_text("grace-timeout = 1\n")
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "code", "stderr"), MISTAKES, ids=[m[2].split("\n")[0] for m in MISTAKES]
)
def test_a_mistake_is_told_in_four_lines_with_its_exit_code(
    directory: Path, arguments: tuple[str | bytes, ...], code: int, stderr: str
) -> None:
    ended = run_program(*arguments, cwd=directory)
    assert ended == Ended(code, "", stderr.replace("{cwd}", str(directory)))
    assert len(stderr.splitlines()) <= 4


def test_an_unknown_variable_is_told_with_the_nearest(directory: Path) -> None:
    ended = run_program("main:app", cwd=directory, env={"PREFORK_WORKRES": "2"})
    assert ended == Ended(78, "", "error: unknown option PREFORK_WORKRES\n  did you mean PREFORK_WORKERS?\n")


def test_no_app_at_all_is_told_with_what_to_do(directory: Path) -> None:
    ended = run_program(cwd=directory)
    assert (ended.code, ended.stdout) == (2, "")
    assert ended.stderr.startswith("error: no app was named, and none was found in ")
    assert len(ended.stderr.splitlines()) <= 4

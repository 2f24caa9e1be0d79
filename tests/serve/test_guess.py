from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from prefork.errors import UsageError
from prefork.serve.guess import guess_target, read_names


def write(directory: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (directory / name).write_text(textwrap.dedent(text))
    return directory


@pytest.mark.parametrize(
    ("files", "target"),
    [
        ({"main.py": "app = make()"}, "main:app"),
        ({"app.py": "async def application(scope, receive, send): ..."}, "app:application"),
        ({"wsgi.py": "from framework import get\napplication: object = get()"}, "wsgi:application"),
        ({"asgi.py": "from shop.web import application"}, "asgi:application"),
        ({"main.py": "async def handler(reader, writer): ..."}, "main:handler"),
        ({"main.py": "class app: ..."}, "main:app"),
        ({"main.py": "def create_app(): ..."}, "main:create_app()"),
        ({"main.py": "def create_app(): ...\napp = create_app()"}, "main:app"),
        ({"main.py": "app = application = make()"}, "main:app"),
        ({"main.py": "app = make()\napplication = app"}, "main:app"),
        ({"main.py": "app = make()\napp = wrap(app)"}, "main:app"),
        ({"main.py": "app = make()\nhandler = Mangum(app)"}, "main:app"),
        ({"main.py": "try:\n    app = a()\nexcept ImportError:\n    app = b()"}, "main:app"),
        ({"main.py": "if DEBUG:\n    app = a()\nelse:\n    app = b()"}, "main:app"),
        ({"main.py": "app, other = make()"}, "main:app"),
        ({"app.py": "app = make()", "wsgi.py": "from app import app"}, "app:app"),
        ({"app.py": "app = make()", "main.py": "import app\nrun(app.app)"}, "app:app"),
        ({"app.py": "app = make()", "main.py": "print('a script')"}, "app:app"),
        ({"main.py": "import sys\nsys.exit('this file must not run')\napp = 1"}, "main:app"),
    ],
)
def test_the_one_obvious_app_is_found_without_running_anything(
    tmp_path: Path, files: dict[str, str], target: str
) -> None:
    assert guess_target(str(write(tmp_path, files))) == target


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({"main.py": "app = a()\napplication = b()"}, ["main:app", "main:application"]),
        (
            {"wsgi.py": "application = a()", "asgi.py": "application = b()"},
            ["wsgi:application", "asgi:application"],
        ),
        ({"app.py": "def create_app(): ...", "wsgi.py": "app = a()"}, ["app:create_app()", "wsgi:app"]),
    ],
)
def test_more_than_one_app_is_refused_with_the_list(
    tmp_path: Path, files: dict[str, str], found: list[str]
) -> None:
    with pytest.raises(UsageError) as raised:
        guess_target(str(write(tmp_path, files)))

    assert raised.value.exit_code == 2
    assert [raised.value.message, *raised.value.hints] == [
        f"no app was named, and {tmp_path} has more than one",
        f"found: {', '.join(found)}",
        f"say which: prefork {found[0]}",
    ]


@pytest.mark.parametrize(
    ("files", "seen"),
    [
        ({}, ""),
        ({"web.py": "app = make()"}, ""),
        ({"main.py": "server = make()"}, "        found: main.py without them"),
        ({"main.py": "app = (\n"}, "        found: main.py without them"),
        ({"main.py": "app.state = 1"}, "        found: main.py without them"),
        ({"main.py": "def f():\n    app = make()"}, "        found: main.py without them"),
        ({"main.py": "if __name__ == '__main__':\n    app = make()"}, "        found: main.py without them"),
    ],
)
def test_no_app_is_refused_with_what_was_looked_for(tmp_path: Path, files: dict[str, str], seen: str) -> None:
    with pytest.raises(UsageError) as raised:
        guess_target(str(write(tmp_path, files)))

    assert [raised.value.message, *raised.value.hints] == [
        f"no app was named, and none was found in {tmp_path}",
        "looked for app, application, handler, create_app in app.py, main.py, wsgi.py, asgi.py" + seen,
        "say where it is: prefork module:attr, or prefork path/to/file.py",
    ]


def test_a_file_that_cannot_be_read_binds_nothing(tmp_path: Path) -> None:
    (tmp_path / "zeros.py").write_bytes(b"\0" * 100)

    assert [read_names(tmp_path / name) for name in ("zeros.py", "missing.py", ".")] == [{}, {}, {}]

from __future__ import annotations

import importlib
import pickle
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from prefork.config.model import InterfaceChoice
from prefork.errors import AppError
from prefork.serve.app import LoadedApp, load_app

ASGI = "async def app(scope, receive, send): ...\n"
SHOP = {
    "main.py": """
        async def app(scope, receive, send): ...
        def wsgi(environ, start_response): ...
        def create_app(): return app
        def add(a, b): return a + b
        class Holder: ...
        holder = Holder()
        holder.app = app
        number = 7
    """,
}

FOUND = "found: app (ASGI), wsgi (WSGI), create_app() (factory: add --factory)"

NOT_A_PACKAGE = "ModuleNotFoundError: No module named 'web.settings'; 'web' is not a package"

Project = Callable[[dict[str, str]], Path]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    """Writes files into a directory of its own and goes there; forgets what was imported from it afterwards."""
    directory = tmp_path / "srv"
    directory.mkdir()
    monkeypatch.chdir(directory)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    before = set(sys.modules)

    def write(files: dict[str, str]) -> Path:
        for name, text in files.items():
            path = directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(text))
        return directory

    yield write
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", None)).startswith(str(tmp_path)):
            del sys.modules[name]


def refuse(target: str, **options: Any) -> AppError:
    with pytest.raises(AppError) as raised:
        load_app(target, **options)
    error = raised.value
    assert error.exit_code == 3
    assert len(str(error).splitlines()) <= 4
    return error


def read_lines(error: AppError) -> list[str]:
    return [error.message, *error.hints]


# What can be named.


@pytest.mark.parametrize(
    ("target", "where", "interface"),
    [
        ("main:app", "main:app", "asgi"),
        ("main:wsgi", "main:wsgi", "wsgi"),
        ("main:holder.app", "main:holder.app", "asgi"),
        ("main:create_app()", "main:create_app()", "asgi"),
        ("main", "main:app", "asgi"),
        ("main.py", "main:app", "asgi"),
        ("./main.py:wsgi", "main:wsgi", "wsgi"),
        ("../srv/main.py:create_app()", "main:create_app()", "asgi"),
        (" main:app ", "main:app", "asgi"),
    ],
)
def test_an_app_is_found_by_module_or_by_path(
    project: Project, target: str, where: str, interface: str
) -> None:
    directory = project(SHOP)

    loaded = load_app(target)

    module = importlib.import_module("main")
    app = module.wsgi if interface == "wsgi" else module.app
    assert loaded == LoadedApp(app, interface, where, str(directory / "main.py"))  # type: ignore[arg-type]  # from the table


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("async def application(scope, receive, send): ...", "application"),
        ("async def handler(reader, writer): ...", "handler"),
        ("async def app(scope, receive, send): ...\napplication = app", "app"),
        ("async def app(scope, receive, send): ...\ndef create_app(): ...", "app"),
        ("async def app(scope, receive, send): ...\nhandler = print", "app"),
        ("def create_app():\n    async def app(scope, receive, send): ...\n    return app", "create_app()"),
        ("app = 7\nasync def handler(reader, writer): ...", "handler"),
    ],
)
def test_a_file_without_an_attribute_is_served_by_its_obvious_app(
    project: Project, text: str, name: str
) -> None:
    project({"web.py": text})

    assert load_app("web.py").where == f"web:{name}"
    assert load_app("web").where == f"web:{name}"


def test_two_different_obvious_apps_are_refused(project: Project) -> None:
    project({"web.py": ASGI + "async def application(scope, receive, send): ..."})

    assert read_lines(refuse("./web.py")) == [
        "web has more than one app: app, application",
        "say which: ./web.py:app",
    ]


def test_a_file_in_a_package_is_imported_by_its_whole_name(project: Project) -> None:
    directory = project(
        {
            "deep/pkg/__init__.py": "",
            "deep/pkg/names.py": "class Name: ...",
            "deep/pkg/sub/__init__.py": "",
            "deep/pkg/sub/web.py": "from ..names import Name\n" + ASGI + "name = Name()",
        }
    )

    loaded = load_app("deep/pkg/sub/web.py:app")

    assert loaded.where == "pkg.sub.web:app"
    assert sys.path[:2] == [str(directory / "deep"), str(directory)]
    name = sys.modules["pkg.sub.web"].name
    assert type(pickle.loads(pickle.dumps(name))) is type(name)


def test_a_package_is_a_target_too(project: Project) -> None:
    project({"pkg/__init__.py": ASGI})

    assert load_app("./pkg").where == "pkg:app"
    assert load_app("pkg:app").where == "pkg:app"


def test_app_dir_comes_first_on_the_path_and_only_once(project: Project) -> None:
    directory = project({"src/web.py": ASGI, "web.py": "wrong = 1"})
    sys.path.append(str(directory / "src"))

    load_app("web:app", app_dir="src")

    assert sys.path[0] == str(directory / "src")
    assert sys.path.count(str(directory / "src")) == 1


def test_factory_calls_the_attribute(project: Project) -> None:
    project(SHOP)

    assert load_app("main:create_app", factory=True).where == "main:create_app()"
    assert load_app("main", factory=True).where == "main:create_app()"


def test_a_link_to_the_current_deploy_stays_a_link(project: Project) -> None:
    directory = project({"releases/1/web.py": ASGI})
    (directory / "current").symlink_to("releases/1")

    assert load_app("current/web.py").file == str(directory / "current" / "web.py")


@pytest.mark.parametrize("interface", ["asgi", "wsgi", "stream"])
def test_a_chosen_interface_wins_over_what_was_detected(project: Project, interface: InterfaceChoice) -> None:
    project(SHOP)

    assert load_app("main:add", interface=interface).interface == interface


# What goes wrong. `{srv}` is the project's directory.


@pytest.mark.parametrize(
    ("target", "lines"),
    [
        (
            "main:ap",
            [
                'no attribute "ap" in main ({srv}/main.py)',
                f"did you mean main:app?        {FOUND}",
            ],
        ),
        (
            "./main.py:creat_app",
            [
                'no attribute "creat_app" in main ({srv}/main.py)',
                f"did you mean ./main.py:create_app()?        {FOUND}",
            ],
        ),
        (
            "main:holder.ap",
            [
                'no attribute "ap" in main:holder (a Holder)',
                FOUND,
            ],
        ),
        (
            "main:number",
            [
                "main:number is an int, not an app: it cannot be called",
                FOUND,
            ],
        ),
        (
            "main:create_app",
            [
                "main:create_app takes no arguments: it looks like a factory, not an app",
                "did you mean main:create_app()?        or add --factory",
                "if it makes an asyncio.Protocol for each connection: --interface protocol",
            ],
        ),
        ("main:app()", ["main:app is no factory but an app (ASGI)", "leave out --factory and ()"]),
        ("mian:app", ['no module named "mian" (looked in {srv})', "did you mean main:app?"]),
        ("mian:wsgi", ['no module named "mian" (looked in {srv})', "did you mean main:wsgi?"]),
        ("mian", ['no module named "mian" (looked in {srv})', "did you mean main:app?"]),
        ("main.wsgi", ['no module named "main.wsgi" (looked in {srv})', "did you mean main:wsgi?"]),
        (
            "unheard_of:app",
            [
                'no module named "unheard_of" (looked in {srv})',
                "run it from the app's directory, or give --app-dir",
            ],
        ),
        ("mian.py", ["no file mian.py (looked in {srv})", "did you mean main.py?"]),
        ("./main:app", ["no file ./main (looked in {srv})", "did you mean ./main.py?"]),
        ("nothing/near.py", ["no file nothing/near.py (looked in {srv})"]),
        (
            "main:create_app('x')",
            [
                "\"main:create_app('x')\" names no app",
                "write it as module:attr, module:factory() or path/to/app.py:attr",
                "a factory is called without arguments: write one that passes them on",
            ],
        ),
        (
            ":app",
            ['":app" names no app', "write it as module:attr, module:factory() or path/to/app.py:attr"],
        ),
        (
            "main:",
            ['"main:" names no app', "write it as module:attr, module:factory() or path/to/app.py:attr"],
        ),
        ("..main:app", ['"..main:app" names no app', '"..main" is no dotted module name']),
    ],
)
def test_a_wrong_target_is_met_with_what_was_meant(project: Project, target: str, lines: list[str]) -> None:
    directory = project(SHOP)

    error = refuse(target)

    assert read_lines(error) == [line.replace("{srv}", str(directory)) for line in lines]
    assert error.traceback == ""


def test_a_module_one_folder_down_is_suggested(project: Project) -> None:
    project({"src/web.py": ASGI, "shop/__init__.py": "", "shop/wsgi.py": "application = print"})

    assert refuse("web:app").hints == ("did you mean src/web.py:app?",)
    assert refuse("wsgi").hints == ("did you mean shop.wsgi:application?",)


def test_a_file_with_nothing_to_serve_says_what_was_looked_for(project: Project) -> None:
    directory = project({"web.py": "async def server(scope, receive, send): ..."})

    assert read_lines(refuse("web.py")) == [
        f"no app, application, handler or create_app in web ({directory}/web.py)",
        "did you mean web.py:server?        found: server (ASGI)",
    ]


def test_a_wrong_app_dir_is_named(project: Project) -> None:
    directory = project(SHOP)

    assert (
        refuse("main:app", app_dir="nowhere").message
        == f"no directory {directory}/nowhere to look for the app in"
    )


def test_a_file_hidden_by_a_module_python_already_has_is_not_mistaken_for_it(project: Project) -> None:
    directory = project({"textwrap.py": ASGI})

    for target in ("textwrap.py", "textwrap:app"):
        assert read_lines(refuse(target)) == [
            f"{directory}/textwrap.py is hidden by another module of its name: {textwrap.__file__}",
            "rename the file",
        ]


# What the app's own code raises.


@pytest.mark.parametrize(
    ("text", "message", "last_line"),
    [
        (
            "x = 1\n\nimport no_such_redis\n",
            "web could not be imported: ModuleNotFoundError: No module named 'no_such_redis' (web.py, line 3)",
            "ModuleNotFoundError: No module named 'no_such_redis'",
        ),
        (
            "import web.settings\n",
            f"web could not be imported: {NOT_A_PACKAGE} (web.py, line 1)",
            NOT_A_PACKAGE,
        ),
        (
            "def broken(:\n",
            "web could not be imported: SyntaxError: invalid syntax (web.py, line 1)",
            "SyntaxError: invalid syntax",
        ),
        (
            "def f():\n    raise ValueError('first\\nsecond')\nf()\n",
            "web could not be imported: ValueError: first (web.py, line 2)",
            "second",
        ),
        (
            "raise RuntimeError\n",
            "web could not be imported: RuntimeError (web.py, line 1)",
            "RuntimeError",
        ),
        (
            "raise KeyboardInterrupt\n",
            "web could not be imported: KeyboardInterrupt (web.py, line 1)",
            "KeyboardInterrupt",
        ),
        (
            "import sys\nsys.exit(3)\n",
            "web ended the program while it was imported: SystemExit: 3 (web.py, line 2)",
            "SystemExit: 3",
        ),
    ],
)
@pytest.mark.parametrize("target", ["web:app", "web.py"])
def test_what_the_app_raises_at_import_is_told_in_the_users_frames(
    project: Project, target: str, text: str, message: str, last_line: str
) -> None:
    project({"web.py": text})

    error = refuse(target)

    assert error.message == message
    assert error.traceback.splitlines()[-1] == last_line
    assert 'web.py", line' in error.traceback
    assert "importlib" not in error.traceback
    assert "prefork" not in error.traceback


def test_an_error_deep_in_a_dependency_is_placed_at_the_users_own_line(project: Project) -> None:
    project({"web.py": "import json\njson.loads('{')\n" + ASGI})

    error = refuse("web:app")

    assert error.message.endswith("(web.py, line 2)")
    assert "decoder.py" in error.traceback


def test_every_link_of_a_chain_of_errors_is_trimmed(project: Project) -> None:
    project(
        {
            "web.py": """
                try:
                    import no_such_driver
                except ImportError as error:
                    raise RuntimeError("install a driver") from error
            """
        }
    )

    error = refuse("web:app")

    assert "No module named 'no_such_driver'" in error.traceback
    assert "direct cause" in error.traceback
    assert "importlib" not in error.traceback


@pytest.mark.parametrize(
    ("body", "lines"),
    [
        ("raise ValueError('no database')", ["web:make() raised ValueError: no database (web.py, line 2)"]),
        ("raise SystemExit(3)", ["web:make() raised SystemExit: 3 (web.py, line 2)"]),
        ("return None", ["web:make() returned None, not an app", "does it end with a return?"]),
        ("return {}", ["web:make() is a dict, not an app: it cannot be called"]),
    ],
)
def test_a_factory_that_makes_no_app_is_told(project: Project, body: str, lines: list[str]) -> None:
    project({"web.py": f"def make():\n    {body}\n"})

    error = refuse("web:make()")

    assert read_lines(error) == lines
    assert bool(error.traceback) == ("raised" in lines[0])


def test_a_factory_that_needs_arguments_or_is_async_is_told(project: Project) -> None:
    project({"web.py": "def make(config): ...\nasync def later(): ..."})

    assert read_lines(refuse("web:make()")) == [
        "web:make needs 1 argument, and a factory is called without any",
        "write one without arguments that calls it",
    ]
    assert read_lines(refuse("web:later()")) == [
        "web:later is a coroutine function",
        "a factory is a plain function that returns the app",
    ]


def test_a_module_whose_getattr_raises_is_told(project: Project) -> None:
    project({"web.py": "def __getattr__(name):\n    raise ValueError(name)\n"})

    error = refuse("web:app")

    assert error.message == "web:app raised ValueError: app (web.py, line 2)"


def test_suggesting_survives_objects_that_may_not_be_looked_at(project: Project) -> None:
    project(
        {
            "web.py": """
                class Proxy:
                    @property
                    def __class__(self):
                        raise RuntimeError("outside of a request")
                    def __call__(self, a, b): ...
                request = Proxy()
                async def app(scope, receive, send): ...
            """
        }
    )

    assert refuse("web:ap").hints == ("did you mean web:app?        found: app (ASGI)",)


def test_loading_an_app_that_needs_no_asyncio_loads_none() -> None:
    program = "import prefork.serve.app, prefork.serve.guess, sys; sys.exit('asyncio' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0

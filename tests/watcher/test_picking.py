"""What counts as a change, by name."""

from __future__ import annotations

import pytest

from prefork.watcher.picking import Picker


@pytest.mark.parametrize("path", ["/srv/main.py", "/srv/a b/é.py", "/srv/.git.py", "/srv/new\nline.py"])
def test_python_files_count(path: str) -> None:
    assert Picker().takes(path)


@pytest.mark.parametrize(
    "name",
    [
        ".#main.py",
        "#main.py#",
        "main.py~",
        ".main.py.swp",
        "main.py.swx",
        "4913",
        "main.pyc",
        "main.py___jb_tmp___",
    ],
)
@pytest.mark.parametrize("include", [(), ("*",)])
def test_what_editors_and_python_write_beside_it_never_does(name: str, include: tuple[str, ...]) -> None:
    assert not Picker(include).takes(f"/srv/{name}")


@pytest.mark.parametrize("name", ["index.html", "notes.txt", "py", "main.py.txt"])
def test_other_files_count_when_they_are_asked_for(name: str) -> None:
    assert not Picker().takes(f"/srv/{name}")
    assert Picker(("*.html", "*.txt", "py")).takes(f"/srv/{name}")


def test_a_pattern_with_a_slash_is_about_the_end_of_the_path() -> None:
    picker = Picker(("templates/*.txt", "/etc/shop/*"), ("old/*", "./legacy/"))
    assert picker.takes("/srv/shop/templates/mail.txt")
    assert picker.takes("/etc/shop/anything")
    assert not picker.takes("/srv/templates.txt")
    assert not picker.takes("/srv/old/main.py")
    assert not picker.enters("/srv/legacy")


def test_an_exclusion_wins_and_holds_for_files_and_directories() -> None:
    picker = Picker(("*.html",), ("migrations", "test_*"))
    assert not picker.enters("/srv/migrations")
    assert not picker.takes("/srv/test_main.py")
    assert not picker.takes("/srv/test_page.html")
    assert picker.takes("/srv/migrations/main.py"), "a name is one name, not a part of the path"


@pytest.mark.parametrize("name", [".git", ".venv", "__pycache__", "node_modules", ".hidden"])
def test_hidden_and_generated_directories_are_not_entered(name: str) -> None:
    assert not Picker().enters(f"/srv/{name}")
    assert Picker().enters("/srv/.hidden/shop"), "only the name counts"

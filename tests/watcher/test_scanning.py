"""What a look finds, on a real tree."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from prefork.system import clock
from prefork.watcher import scanning
from prefork.watcher.picking import Picker
from prefork.watcher.scanning import RACY_NS, Scanner


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    tree = tmp_path / "shop"
    (tree / "views").mkdir(parents=True)
    for name in ("main.py", "views/__init__.py", "views/page.py", "notes.txt"):
        (tree / name).write_text("1")
    make_old(tree)
    return tree


def make_old(tree: Path) -> None:
    """As if nothing had been touched for a minute, so that listings are believed."""
    for path in [tree, *tree.rglob("*")]:
        os.utime(path, ns=(clock.wall_ns(), clock.wall_ns() - 30 * RACY_NS), follow_symlinks=False)


def look_first(tree: Path, *files: Path, picker: Picker | None = None) -> Scanner:
    scanner = Scanner([str(tree)], list(map(str, files)), picker or Picker())
    assert scanner.scan(clock.wall_ns() + 60 * 10**9) == []
    return scanner


def names(changed: list[str], tree: Path) -> list[str]:
    return sorted(os.path.relpath(path, tree) for path in changed)


def test_nothing_has_changed_when_nothing_was_done(tree: Path) -> None:
    scanner = look_first(tree)
    assert scanner.count_files() == 3
    assert [scanner.scan() for _ in range(3)] == [[], [], []]


def test_created_changed_renamed_and_deleted_are_changes_once_each(tree: Path) -> None:
    scanner = look_first(tree)
    (tree / "new.py").write_text("1")
    (tree / "main.py").write_text("22")
    (tree / "views/page.py").rename(tree / "views/pages.py")
    (tree / "views/__init__.py").unlink()
    (tree / "notes.txt").write_text("22")

    expected = ["main.py", "new.py", "views/__init__.py", "views/page.py", "views/pages.py"]
    assert names(scanner.scan(), tree) == expected
    assert scanner.scan() == []


def test_the_size_alone_is_a_change_and_so_is_the_time_alone(tree: Path) -> None:
    scanner = look_first(tree)
    main, page = tree / "main.py", tree / "views/page.py"
    before = main.stat()
    main.write_text("longer")
    os.utime(main, ns=(before.st_atime_ns, before.st_mtime_ns))
    os.utime(page, ns=(0, page.stat().st_mtime_ns - 1))

    assert names(scanner.scan(), tree) == ["main.py", "views/page.py"]


def test_a_file_put_in_place_of_another_is_a_change(tree: Path) -> None:
    scanner = look_first(tree)
    (tree / "main.py.tmp").write_text("saved as editors do")
    (tree / "main.py.tmp").replace(tree / "main.py")
    assert names(scanner.scan(), tree) == ["main.py"]


def test_a_peek_sees_what_is_done_to_the_last_changed_files_and_to_no_others(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scanning, "HOT", 1)
    scanner = look_first(tree, tree / ".env")
    (tree / "main.py").write_text("22")
    scanner.scan()
    assert not scanner.peek()
    (tree / "views/page.py").write_text("22")
    assert not scanner.peek()
    (tree / "main.py").unlink()
    assert scanner.peek()
    scanner.scan()
    assert not scanner.peek()
    (tree / ".env").write_text("A=1")
    assert scanner.peek(), "single files are always looked at"


def test_a_change_of_mode_is_none(tree: Path) -> None:
    scanner = look_first(tree)
    (tree / "main.py").chmod(0o600)
    assert scanner.scan() == []


def test_a_whole_directory_may_come_go_and_come_back(tree: Path) -> None:
    scanner = look_first(tree)
    before = scanner.list_directories()
    (tree / "views").rename(tree.parent / "elsewhere")
    assert names(scanner.scan(), tree) == ["views/__init__.py", "views/page.py"]
    (tree / "views").mkdir()
    shutil.copy2(tree.parent / "elsewhere/page.py", tree / "views")
    assert names(scanner.scan(), tree) == ["views/page.py"]

    after = scanner.list_directories()
    assert after.keys() == before.keys()
    assert after[str(tree / "views")] != before[str(tree / "views")], "watches must be set anew"


def test_the_root_itself_may_go_and_come_back(tree: Path) -> None:
    scanner = look_first(tree)
    tree.rename(tree.parent / "elsewhere")
    assert len(scanner.scan()) == 3
    assert scanner.list_directories() == {}
    assert scanner.scan() == []
    (tree.parent / "elsewhere").rename(tree)
    assert len(scanner.scan()) == 3


def test_two_files_created_within_the_grain_of_a_time_stamp_are_both_found(tree: Path) -> None:
    scanner = look_first(tree)
    (tree / "first.py").write_text("1")
    stamp = tree.stat().st_mtime_ns
    assert names(scanner.scan(), tree) == ["first.py"]
    (tree / "second.py").write_text("1")
    os.utime(tree, ns=(stamp, stamp))
    assert names(scanner.scan(), tree) == ["second.py"]


def test_the_first_look_finds_what_was_touched_since(tree: Path) -> None:
    since = clock.wall_ns()
    old = tree.parent / "old.py"
    old.write_text("1")
    os.utime(old, ns=(0, 0))
    os.utime(tree, ns=(0, since - 10**12))
    scanner = Scanner([str(tree)], [], Picker())
    assert names(scanner.scan(0), tree) == ["main.py", "views/__init__.py", "views/page.py"]
    assert scanner.scan(0) == [], "only the first look"

    old.rename(tree / "old.py")  # its own time stamp is of 1970
    is_after = (tree / "old.py").stat().st_ctime_ns
    assert names(Scanner([str(tree)], [], Picker()).scan(is_after - 1), tree) == ["old.py"]


def test_linked_directories_are_followed_once_and_loops_end(tree: Path) -> None:
    (tree.parent / "library").mkdir()
    (tree.parent / "library/tools.py").write_text("1")
    (tree / "lib").symlink_to(tree.parent / "library")
    (tree / "again").symlink_to(tree / "views")
    (tree / "views/up").symlink_to(tree)
    (tree / "dangling.py").symlink_to("nowhere")
    (tree / "itself.py").symlink_to("itself.py")
    scanner = look_first(tree)
    assert scanner.count_files() == 4

    (tree.parent / "library/tools.py").write_text("22")
    (tree / "views/page.py").write_text("22")
    assert names(scanner.scan(), tree) == ["lib/tools.py", "views/page.py"]


def test_a_link_turned_round_is_a_change(tree: Path) -> None:
    current, release = tree.parent / "current", tree.parent / "release"
    shutil.copytree(tree, release)
    (release / "main.py").write_text("the next release")
    (release / "added.py").write_text("1")
    os.utime(release, ns=(0, tree.stat().st_mtime_ns))
    current.symlink_to(tree)
    scanner = look_first(current)
    (tree.parent / "next").symlink_to(release)
    (tree.parent / "next").replace(current)
    assert {"main.py", "added.py"} <= set(names(scanner.scan(), current))


def test_generated_and_installed_code_is_not_looked_at(tree: Path) -> None:
    for folder in ("env/lib", ".git", "__pycache__", "node_modules/x"):
        (tree / folder).mkdir(parents=True)
        (tree / folder / "code.py").write_text("1")
    (tree / "env/pyvenv.cfg").write_text("")
    assert look_first(tree).count_files() == 3


def test_a_project_that_is_a_virtualenv_itself_is_looked_at(tree: Path) -> None:
    (tree / "pyvenv.cfg").write_text("")
    assert look_first(tree).count_files() == 3


def test_single_files_count_whatever_their_name_and_need_not_exist(tree: Path) -> None:
    env_file, toml = tree.parent / ".env", tree / "prefork.toml"
    scanner = look_first(tree, env_file, toml)
    env_file.write_text("A=1")
    assert names(scanner.scan(), tree) == ["../.env"]
    toml.write_text("")
    assert names(scanner.scan(), tree) == ["prefork.toml"]
    env_file.unlink()
    assert names(scanner.scan(), tree) == ["../.env"]
    assert str(tree.parent) in scanner.list_directories()


def test_only_what_could_be_a_change_is_worth_a_look(tree: Path) -> None:
    env_file = tree.parent / ".env"
    scanner = look_first(tree, env_file)
    (tree / "__pycache__").mkdir()
    (tree / "fresh").mkdir()
    worth = ["main.py", "new.py", "fresh", "views", "../.env"]
    noise = ["notes.txt", "__pycache__", "__pycache__/main.cpython-311.pyc", "main.py~", "4913"]
    assert [name for name in worth + noise if scanner.concerns(os.path.normpath(tree / name))] == worth


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_directory_is_empty_until_it_can_be_read(tree: Path) -> None:
    (tree / "views").chmod(0)
    try:
        scanner = look_first(tree)
        assert scanner.count_files() == 1
    finally:
        (tree / "views").chmod(0o755)
    assert names(scanner.scan(), tree) == ["views/__init__.py", "views/page.py"]


def test_a_directory_that_cannot_be_listed_is_tried_again(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = str(tree / "views")
    list_really = os.scandir

    def scandir(path: str) -> object:
        if path == refused:
            raise PermissionError(path)
        return list_really(path)

    monkeypatch.setattr(os, "scandir", scandir)
    scanner = look_first(tree)
    assert scanner.count_files() == 1
    monkeypatch.undo()
    assert names(scanner.scan(), tree) == ["views/__init__.py", "views/page.py"]

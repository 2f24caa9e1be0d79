"""Where sockets are: the same order for both sides, and nothing that others can enter or have made."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from prefork.control.places import Place, UnusableError, check_length, list_places, list_sockets, prepare

UID = os.geteuid()


@pytest.mark.parametrize(
    ("environ", "uid", "paths"),
    [
        ({}, 1000, ["/tmp/prefork-1000/shop.sock"]),
        ({}, 0, ["/run/prefork/shop.sock", "/tmp/prefork-0/shop.sock"]),
        (
            {"XDG_RUNTIME_DIR": "/run/user/1000"},
            1000,
            ["/run/user/1000/prefork/shop.sock", "/tmp/prefork-1000/shop.sock"],
        ),
        (
            {"RUNTIME_DIRECTORY": "/run/shop:/run/more", "PREFORK_CONTROL": "/srv/here/"},
            1000,
            ["/srv/here/shop.sock"],
        ),
        ({"PREFORK_CONTROL": "/srv/own.sock"}, 0, ["/srv/own.sock"]),
        ({"PREFORK_CONTROL": "own.sock"}, 1000, ["./own.sock"]),
        ({"PREFORK_CONTROL": "", "RUNTIME_DIRECTORY": ""}, 1000, ["/tmp/prefork-1000/shop.sock"]),
        (
            {"RUNTIME_DIRECTORY": "/run/shop:/run/more", "XDG_RUNTIME_DIR": "/run/user/0"},
            0,
            [
                "/run/shop/shop.sock",
                "/run/user/0/prefork/shop.sock",
                "/run/prefork/shop.sock",
                "/tmp/prefork-0/shop.sock",
            ],
        ),
    ],
)
def test_places_are_tried_in_their_order(environ: dict[str, str], uid: int, paths: list[str]) -> None:
    assert [place.path_for("shop") for place in list_places(environ, uid)] == paths


def test_a_directory_is_made_for_us_alone(tmp_path: Path) -> None:
    place = Place(f"{tmp_path}/prefork")
    prepare(place, UID)
    prepare(place, UID)
    assert (tmp_path / "prefork").stat().st_mode & 0o7777 == 0o700


def test_a_directory_that_was_named_is_made_too_and_left_as_it_is_if_it_is_there(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir(mode=0o750)
    for name, mode in (("new", 0o700), ("mine", 0o750)):
        prepare(Place(f"{tmp_path}/{name}", is_ours=False), UID)
        assert (tmp_path / name).stat().st_mode & 0o7777 == mode


def test_a_directory_that_others_can_enter_made_or_point_elsewhere_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir(mode=0o755)
    (tmp_path / "file").touch()
    (tmp_path / "private").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "private")
    for name, uid, why in [
        ("open", UID, "is open to others"),
        ("private", UID + 1, f"belongs to uid {UID}"),
        ("file", UID, "not a directory"),
        ("link", UID, "not a directory"),
        ("no/such", UID, "no such file or directory"),
    ]:
        with pytest.raises(UnusableError, match=why):
            prepare(Place(f"{tmp_path}/{name}"), uid)


def test_a_path_that_the_kernel_cannot_take_is_refused_before_it_is_tried() -> None:
    assert check_length("/" + "x" * 102)
    with pytest.raises(UnusableError, match="longer than the 103 bytes"):
        check_length("/" + "ä" * 52)


def test_only_sockets_are_listed_each_once(tmp_path: Path) -> None:
    (tmp_path / "file.sock").touch()
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(f"{tmp_path}/a.sock")
        assert list_sockets({"PREFORK_CONTROL": str(tmp_path)}, UID) == [f"{tmp_path}/a.sock"]
        twice = {"RUNTIME_DIRECTORY": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)}
        assert [p for p in list_sockets(twice, UID) if p.startswith(str(tmp_path))] == [f"{tmp_path}/a.sock"]

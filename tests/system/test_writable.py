"""Asked beforehand, nothing is made and nothing is taken."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from prefork.config.addresses import Address, parse_address
from prefork.errors import PreforkError
from prefork.system.writable import check_file, find_bind_trouble


def test_a_file_that_could_be_written_is_not_made(tmp_path: Path) -> None:
    check_file("log file", str(tmp_path / "new.log"))
    (tmp_path / "old.log").write_text("kept")
    check_file("log file", str(tmp_path / "old.log"))
    assert [path.name for path in tmp_path.iterdir()] == ["old.log"]


def test_a_file_that_could_not_be_opened_is_refused_as_opening_it_would_be(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("elsewhere")
    for name, why in (
        ("no/x.log", "its directory does not exist"),
        ("link", "it is a symbolic link"),
        (".", "is a directory"),
    ):
        with pytest.raises(PreforkError, match=why):
            check_file("log file", str(tmp_path / name))


def test_an_address_is_free_taken_by_somebody_or_left_behind(tmp_path: Path) -> None:
    assert find_bind_trouble(parse_address("127.0.0.1:0")) is None
    with socket.create_server(("127.0.0.1", 0)) as held:
        taken = Address("tcp4", "127.0.0.1", held.getsockname()[1])
        trouble = find_bind_trouble(taken)
        assert trouble is not None
        assert "is in use by another --bind of this service" in trouble.message  # it is we who hold it
    assert find_bind_trouble(taken) is None

    path = tmp_path / "x.sock"
    address = parse_address(f"unix:{path}")
    assert find_bind_trouble(address) is None
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))
        sock.listen()
        trouble = find_bind_trouble(address)
        assert trouble is not None
        assert f"unix:{path} is in use" in trouble.message
    assert find_bind_trouble(address) is None
    assert path.exists()

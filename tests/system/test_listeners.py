"""Listeners on the real kernel: what is bound can be connected to, and what is somebody else's stays theirs."""

from __future__ import annotations

import errno
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from prefork.config.addresses import Address
from prefork.errors import AddressInUseError, ConfigError, PreforkError
from prefork.system.listeners import Listener, bind_listener, find_holder
from tests.system.children import BECOME_NOBODY, NOBODY, list_fds, run_python

MODE = 0o660
TIMEOUT_S = 10.0

Bind = Callable[[Address], Listener]


@pytest.fixture
def bind() -> Iterator[Bind]:
    with ExitStack() as opened:

        def bind_one(address: Address) -> Listener:
            listener = bind_listener(address, backlog=16, socket_mode=MODE)
            opened.callback(listener.close)
            return listener

        yield bind_one


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "shop.sock"


def at(path: Path) -> Address:
    return Address("unix", path=str(path))


def refuse(address: Address) -> PreforkError:
    """The error that binding it raises; it leaves no descriptor behind."""
    before = list_fds()
    with pytest.raises(PreforkError) as refused:
        bind_listener(address, backlog=16, socket_mode=MODE)
    assert list_fds() <= before
    return refused.value


def greet(listener: Listener) -> None:
    """A client's bytes arrive at the listener; connections that only looked are passed over."""
    with socket.socket(listener.sock.family) as client:
        client.settimeout(TIMEOUT_S)
        client.connect(listener.sock.getsockname())
        client.sendall(b"hello")
        listener.sock.settimeout(TIMEOUT_S)
        data = b""
        while not data:
            accepted = listener.sock.accept()[0]
            with accepted:
                data = accepted.recv(100)
        assert data == b"hello"


def make_stale(path: Path) -> os.stat_result:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))
        sock.listen()
    return path.lstat()


def has_ipv6() -> bool:
    with suppress(OSError), socket.socket(socket.AF_INET6) as sock:
        sock.bind(("::1", 0))
        return True
    return False


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")


@pytest.mark.parametrize(
    ("kind", "host", "shown"),
    [
        ("tcp4", "127.0.0.1", "127.0.0.1"),
        ("tcp4", "0.0.0.0", "0.0.0.0"),
        pytest.param("tcp6", "::1", "[::1]", marks=needs_ipv6),
    ],
)
def test_port_0_is_a_free_one_and_the_name_tells_which(bind: Bind, kind: str, host: str, shown: str) -> None:
    listener = bind(Address("tcp6" if kind == "tcp6" else "tcp4", host=host))
    port = listener.sock.getsockname()[1]
    assert port > 0
    assert listener.name() == f"{shown}:{port}"
    greet(listener)


def test_a_closed_listener_still_has_its_name(bind: Bind) -> None:
    listener = bind(Address("tcp4", host="127.0.0.1"))
    name = listener.name()
    listener.close()
    assert listener.name() == name


def test_a_listener_does_not_block_and_closes_on_exec(bind: Bind, path: Path) -> None:
    for address in (Address("tcp4", host="127.0.0.1"), at(path)):
        listener = bind(address)
        assert not os.get_inheritable(listener.fileno())
        assert not os.get_blocking(listener.fileno())
        with pytest.raises(BlockingIOError):
            listener.sock.accept()


def test_accepted_connections_send_at_once(bind: Bind) -> None:
    listener = bind(Address("tcp4", host="127.0.0.1"))
    with socket.create_connection(listener.sock.getsockname()):
        listener.sock.settimeout(TIMEOUT_S)
        with listener.sock.accept()[0] as accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


@needs_ipv6
def test_ipv6_leaves_the_same_port_of_ipv4_to_others(bind: Bind) -> None:
    listener = bind(Address("tcp6", host="::"))
    port = listener.sock.getsockname()[1]
    greet(bind(Address("tcp4", host="127.0.0.1", port=port)))


def test_a_port_can_be_bound_again_at_once_after_it_served(bind: Bind) -> None:
    first = bind_listener(Address("tcp4", host="127.0.0.1"), backlog=16, socket_mode=MODE)
    greet(first)
    port = first.sock.getsockname()[1]
    first.close()
    greet(bind(Address("tcp4", host="127.0.0.1", port=port)))


def test_a_port_in_use_names_the_process_that_holds_it(bind: Bind) -> None:
    address = Address(
        "tcp4", host="127.0.0.1", port=bind(Address("tcp4", host="127.0.0.1")).sock.getsockname()[1]
    )
    error = refuse(address)
    assert isinstance(error, AddressInUseError)
    ours = f"{address} is in use by another --bind of this service\n  stop it, or choose another address with --bind"
    assert str(error) == ours


def test_a_port_in_use_names_the_master_not_the_workers_that_inherited_its_listener(bind: Bind) -> None:
    code = """
import os, socket, sys
sock = socket.create_server(("127.0.0.1", 0))
if os.fork() == 0:
    sys.stdin.read()
    os._exit(0)
print(sock.getsockname()[1], flush=True)
sys.stdin.read()
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        port = int(other.stdout.readline())
        holder = find_holder(port)
        other.stdin.close()
    assert holder is not None
    assert holder.startswith(f"pid {other.pid} ("), holder


def test_a_port_nobody_listens_on_has_no_holder() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        assert find_holder(bound.getsockname()[1]) is None


def test_an_address_of_another_machine_is_a_mistake_in_the_configuration() -> None:
    error = refuse(Address("tcp4", host="192.0.2.1", port=0))
    assert isinstance(error, ConfigError)
    assert str(error) == (
        "cannot bind 192.0.2.1:0: cannot assign requested address\n"
        "  the host must be a name or address of this machine"
    )


TRY_TO_BIND = f"""
import sys
from prefork.config.addresses import parse_address
from prefork.errors import NoPermissionError
from prefork.system.listeners import bind_listener
{BECOME_NOBODY}
try:
    bind_listener(parse_address(sys.argv[1]), backlog=1, socket_mode=0o600)
except NoPermissionError as error:
    print(error)
"""


def first_free_port() -> int:
    """The lowest port that everybody may bind here."""
    with suppress(OSError):
        return int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
    return 1024


@pytest.mark.skipif(first_free_port() <= 81, reason="everybody may bind low ports here")
def test_a_privileged_port_says_what_it_needs() -> None:
    assert run_python(TRY_TO_BIND, "127.0.0.1:81") == (
        "no permission to bind 127.0.0.1:81\n"
        "  ports below 1024 need root, CAP_NET_BIND_SERVICE, or a listener passed by systemd\n"
    )


def test_a_directory_we_may_not_write_is_a_permission_error(path: Path) -> None:
    path.parent.chmod(0o500)
    assert run_python(TRY_TO_BIND, f"unix:{path}") == (
        f"no permission to bind unix:{path}\n  check who owns the directory and its mode\n"
    )


# Unix sockets.


def test_a_unix_socket_serves_and_is_unlinked_when_it_closes(bind: Bind, path: Path) -> None:
    listener = bind(at(path))
    assert listener.name() == f"unix:{path}"
    greet(listener)
    listener.close()
    assert not path.exists()
    listener.close()


def test_a_stale_unix_socket_is_replaced(bind: Bind, path: Path) -> None:
    make_stale(path)
    greet(bind(at(path)))


def test_one_that_was_bound_and_never_listened_on_is_stale(bind: Bind, path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))
        greet(bind(at(path)))


def test_a_live_unix_socket_is_never_taken_over(bind: Bind, path: Path) -> None:
    listener = bind(at(path))
    before = path.lstat()
    error = refuse(at(path))
    assert isinstance(error, AddressInUseError)
    assert str(error) == f"unix:{path} is in use by a live server\n  it is another --bind of this service"
    assert path.lstat() == before
    greet(listener)


def test_a_live_unix_socket_whose_backlog_is_full_is_never_taken_over(path: Path) -> None:
    with ExitStack() as opened:
        busy = opened.enter_context(socket.socket(socket.AF_UNIX))
        busy.bind(str(path))
        busy.listen(0)
        error = 0
        while error != errno.EAGAIN:
            client = opened.enter_context(socket.socket(socket.AF_UNIX))
            client.setblocking(False)
            error = client.connect_ex(str(path))
        before = path.lstat()
        assert str(refuse(at(path))) == f"unix:{path} is in use by a live server"
        assert path.lstat() == before


def test_a_live_datagram_socket_is_never_taken_over(path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(path))
        before = path.lstat()
        refuse(at(path))
        assert path.lstat() == before


def put_file(path: Path) -> None:
    path.write_text("precious")


def put_symlink_to_stale(path: Path) -> None:
    make_stale(path.with_name("stale.sock"))
    path.symlink_to("stale.sock")


def put_dangling_symlink(path: Path) -> None:
    path.symlink_to("nowhere")


@pytest.mark.parametrize("put", [put_file, put_symlink_to_stale, put_dangling_symlink, Path.mkdir, os.mkfifo])
def test_what_is_no_socket_is_never_touched(path: Path, put: Callable[[Path], None]) -> None:
    put(path)
    before = path.lstat()
    names = sorted(path.parent.iterdir())
    error = refuse(at(path))
    assert isinstance(error, AddressInUseError)
    assert str(error) == (
        f"{path} exists and is not a socket\n  prefork never replaces a file it did not make: move it away"
    )
    assert path.lstat() == before
    assert sorted(path.parent.iterdir()) == names
    if put is put_file:
        assert path.read_text() == "precious"


@pytest.mark.parametrize("mode", [0o600, 0o660, 0o666, 0o777])
def test_a_unix_socket_gets_exactly_the_mode_that_was_asked_for(path: Path, mode: int) -> None:
    listener = bind_listener(at(path), backlog=1, socket_mode=mode)
    assert stat.S_IMODE(path.stat().st_mode) == mode
    listener.close()


def test_a_unix_socket_is_private_until_it_has_its_mode(path: Path) -> None:
    code = """
import os, sys
from prefork.config.addresses import parse_address
from prefork.system.listeners import bind_listener

os.umask(0o002)

def look(event, arguments):
    if event == "os.chmod":
        print(oct(os.lstat(arguments[0]).st_mode & 0o777))

sys.addaudithook(look)
bind_listener(parse_address(sys.argv[1]), backlog=1, socket_mode=0o666)
print(oct(os.umask(0)))
"""
    assert run_python(code, f"unix:{path}") == "0o600\n0o2\n", "and the umask is as it was"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_a_unix_socket_belongs_to_who_was_asked_for(path: Path) -> None:
    listener = bind_listener(at(path), backlog=1, socket_mode=MODE, owner=(NOBODY, NOBODY))
    found = path.stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (NOBODY, NOBODY, MODE)
    listener.close()


@pytest.mark.parametrize("put", [put_file, make_stale])
def test_what_took_the_place_of_our_socket_is_not_unlinked(
    bind: Bind, path: Path, put: Callable[[Path], object]
) -> None:
    listener = bind(at(path))
    path.rename(path.with_name("moved.sock"))  # it keeps its inode, which would be given out again otherwise
    put(path)
    before = path.lstat()
    listener.close()
    assert path.lstat() == before


def test_a_directory_that_does_not_exist_is_a_mistake_in_the_configuration(tmp_path: Path) -> None:
    error = refuse(at(tmp_path / "no" / "shop.sock"))
    assert isinstance(error, ConfigError)
    assert str(error) == f"cannot bind unix:{tmp_path}/no/shop.sock: no such file or directory"


# What a reload changes.


def test_nobody_new_connects_to_a_tcp_listener_that_refuses_and_who_did_is_still_accepted(bind: Bind) -> None:
    listener = bind(Address("tcp4", host="127.0.0.1"))
    with socket.create_connection(listener.sock.getsockname()) as waiting, socket.socket() as late:
        listener.refuse_new()
        late.settimeout(0.2)
        with pytest.raises(TimeoutError):
            late.connect(listener.sock.getsockname())
        accepted = listener.sock.accept()[0]
        with accepted:
            waiting.sendall(b"hello")
            assert accepted.recv(100) == b"hello"
        with pytest.raises(BlockingIOError):
            listener.sock.accept()


def test_nobody_new_connects_to_a_unix_listener_that_refuses_and_who_did_is_still_accepted(
    bind: Bind, path: Path
) -> None:
    listener = bind(at(path))
    with socket.socket(socket.AF_UNIX) as waiting:
        waiting.connect(str(path))
        listener.refuse_new()
        assert not path.exists()
        listener.sock.accept()[0].close()


def test_an_inherited_listener_goes_on_for_whoever_passed_it(bind: Bind) -> None:
    with socket.create_server(("127.0.0.1", 0)) as inherited:
        listener = bind(Address("fd", fd=inherited.fileno()))
        listener.refuse_new()
        greet(listener)


@pytest.mark.parametrize("put", [None, put_file, make_stale])
def test_a_unix_listener_knows_whether_its_path_still_leads_to_it(
    bind: Bind, path: Path, put: Callable[[Path], object] | None
) -> None:
    listener = bind(at(path))
    assert listener.is_in_place()
    path.rename(path.with_name("moved.sock"))
    if put is not None:
        put(path)
    assert not listener.is_in_place()
    listener.set_access(0o777, None)
    assert put is not put_file or stat.S_IMODE(path.stat().st_mode) != 0o777


def test_the_backlog_and_the_mode_of_a_listener_can_be_changed(bind: Bind, path: Path) -> None:
    listener = bind(at(path))
    listener.set_access(0o600, None)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    listener.set_backlog(1)
    with ExitStack() as opened:
        error, waiting = 0, 0
        while error == 0:
            client = opened.enter_context(socket.socket(socket.AF_UNIX))
            client.setblocking(False)
            error = client.connect_ex(str(path))
            waiting += 1
        assert (error, waiting <= 3) == (errno.EAGAIN, True)


# Inherited descriptors.


def test_an_inherited_listener_is_used_and_stays_open_when_ours_closes(bind: Bind) -> None:
    with socket.create_server(("127.0.0.1", 0)) as inherited:
        listener = bind(Address("fd", fd=inherited.fileno()))
        assert listener.name() == f"127.0.0.1:{inherited.getsockname()[1]}"
        greet(listener)
        listener.close()
        assert inherited.getsockname()


def test_the_file_of_an_inherited_unix_socket_is_not_unlinked(bind: Bind, path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as inherited:
        inherited.bind(str(path))
        inherited.listen()
        listener = bind(Address("fd", fd=inherited.fileno()))
        assert listener.name() == f"unix:{path}"
        greet(listener)
        listener.close()
        assert path.is_socket()


def test_an_inherited_descriptor_that_cannot_listen_is_named(tmp_path: Path) -> None:
    def explain(fd: int) -> str:
        error = refuse(Address("fd", fd=fd))
        assert isinstance(error, ConfigError)
        return str(error).replace(f"fd://{fd}", "it")

    with (tmp_path / "file").open("w") as file:
        assert explain(file.fileno()) == "cannot use it: it is not an open socket"
    with socket.socket() as gone:
        fd = gone.fileno()
    assert explain(fd) == "cannot use it: it is not an open socket"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
        assert explain(datagrams.fileno()) == "it is not a stream socket"
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as connected,
    ):
        assert explain(connected.fileno()) == "cannot bind it: invalid argument"

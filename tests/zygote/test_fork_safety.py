"""What an import may leave behind, each in a fresh process: found by name, and nothing else found."""

from __future__ import annotations

import pytest

from tests.system.children import run_python

LOOK = """
import faulthandler, os, socket, sys, tempfile, threading
from prefork.zygote.fork_safety import find_hazards

wait = threading.Event().wait
own = frozenset()
folder = tempfile.TemporaryDirectory()
shown = {}
"""
SHOW = """
for hazard in find_hazards(own):
    for said, name in shown.items():
        hazard = hazard.replace(said, name)
    print(hazard)
sys.stdout.flush()
os._exit(0)
"""
TCP = """
server = socket.create_server(("127.0.0.1", 0))
client = socket.create_connection(server.getsockname())
shown = {str(server.getsockname()[1]): "PORT"}
"""
UNIX = """
server = socket.socket(socket.AF_UNIX)
server.bind(folder.name + "/redis.sock")
server.listen()
client = socket.socket(socket.AF_UNIX)
client.connect(server.getsockname())
shown = {folder.name: "FOLDER"}
"""


@pytest.mark.parametrize(
    ("left", "found"),
    [
        ("pass", []),
        ("threading.Thread(target=wait, name='exporter', daemon=True).start()", ["thread exporter"]),
        (
            "for name in 'one', 'two': threading.Thread(target=wait, name=name).start()",
            ["thread one", "thread two"],
        ),
        ("thread = threading.Thread(target=int); thread.start(); thread.join()", []),
        ("faulthandler.dump_traceback_later(60)", ["1 native threads"]),
        (
            "faulthandler.dump_traceback_later(60)\nthreading.Thread(target=wait, name='one').start()",
            ["thread one", "1 native threads"],
        ),
        (TCP, ["connection to 127.0.0.1:PORT"]),
        (TCP + "own = frozenset({client.fileno()})", []),
        (TCP + "client.close()", []),
        (UNIX, ["connection to unix:FOLDER/redis.sock"]),
        (UNIX + "own = frozenset({client.fileno()})", []),
        (UNIX + "client.close()", []),
        ("kept = [socket.create_server(('127.0.0.1', 0)), *os.pipe(), *socket.socketpair()]", []),
        ("kept = [open('/dev/null'), socket.socket(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM)]", []),
    ],
)
def test_what_makes_a_fork_unsafe_is_found_by_name(left: str, found: list[str]) -> None:
    assert run_python(LOOK + left + SHOW).splitlines() == found


def test_looking_leaves_the_connections_as_they_are() -> None:
    code = f"""{LOOK}{TCP}
accepted = server.accept()[0]
find_hazards(own)
client.sendall(b"still here")
print(accepted.recv(100))
"""
    assert run_python(code) == "b'still here'\n"

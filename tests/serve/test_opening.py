from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import asyncio, sys
from prefork.serve.opening import open_service
from prefork.serve.settings import ServeSettings

async def stream(reader, writer): ...
class Protocol(asyncio.Protocol): ...
async def asgi(scope, receive, send): ...
def wsgi(environ, start_response): ...

async def main(app, interface):
    service = open_service(app, interface, ServeSettings(), asyncio.get_running_loop())
    await service.start_up()
    service.drain()
    await service.wait_drained()
    assert service.cut() == 0
    await service.shut_down()
    print(type(service).__name__, *sorted(name for name in sys.modules if name in {watched}))

interface = sys.argv[1]
app = Protocol if interface == "protocol" else globals()[interface]
asyncio.run(main(app, interface))
"""
WATCHED = {"httptools", "prefork.serve.asgi", "prefork.serve.http", "prefork.serve.wsgi"}


@pytest.mark.parametrize(
    ("interface", "service"), [("stream", "StreamService"), ("protocol", "ProtocolService")]
)
def test_a_service_without_http_loads_none_of_it(interface: str, service: str) -> None:
    assert open_in_new_interpreter(interface) == [service]


@pytest.mark.parametrize(("interface", "service"), [("asgi", "AsgiService"), ("wsgi", "WsgiService")])
def test_each_interface_opens_its_own_service(interface: str, service: str) -> None:
    assert open_in_new_interpreter(interface)[0] == service


def open_in_new_interpreter(interface: str) -> list[str]:
    program = PROGRAM.replace("{watched}", repr(WATCHED))
    done = subprocess.run(
        [sys.executable, "-c", program, interface], check=False, capture_output=True, text=True, timeout=30
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split()

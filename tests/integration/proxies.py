"""Several nodes behind the real proxies, configured by the files in `conf/`: only the addresses are replaced.

`scripts/bench proxies` counts with it, too.
"""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

from tests.integration.http_client import CutError, MalformedError, get
from tests.integration.load import MixedLoad
from tests.integration.running import Running, is_listening, wait_until

CONF = Path(__file__).parents[2] / "conf"
HAPROXY = shutil.which("haproxy") or shutil.which("/usr/sbin/haproxy")
NGINX = shutil.which("nginx") or shutil.which("/usr/sbin/nginx")
NODES = (1, 2, 3)

NGINX_AROUND = """
daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/nginx.log;
events {{}}
http {{
  access_log off;
  client_body_temp_path {folder}/a; proxy_temp_path {folder}/b; fastcgi_temp_path {folder}/c;
  uwsgi_temp_path {folder}/d; scgi_temp_path {folder}/e;
  include {folder}/shop.conf;
}}
"""


def write_nginx(folder: Path, upstream: str = "shop_machines") -> Path:
    """Its configuration, for the nodes' unix sockets in `folder`, listening there on `nginx.sock`."""
    text = (CONF / "nginx/shop.conf").read_text()
    text = re.sub(r"192\.0\.2\.1([123]):8000", rf"unix:{folder}/\1.sock", text)
    text = text.replace("keepalive_timeout 4s;", "keepalive_timeout 1s;")  # as the nodes' keep-alive here
    text = text.replace("listen 80;", f"listen unix:{folder}/nginx.sock;")
    text = text.replace("proxy_pass http://shop;", f"proxy_pass http://{upstream};")
    (folder / "shop.conf").write_text(text)
    path = folder / "nginx.conf"
    path.write_text(NGINX_AROUND.format(folder=folder))
    return path


def write_haproxy(folder: Path, backend: str = "machines") -> Path:
    """The same, listening on `haproxy.sock`; it tries nothing twice, and asks the admin sockets five times a second."""
    text = (CONF / "haproxy/shop.cfg").read_text()
    text = re.sub(
        r"192\.0\.2\.1([123]):\d+(?! send)", rf"unix@{folder}/\1.sock addr unix@{folder}/\1-admin.sock", text
    )
    text = text.replace("check port 9000 inter 1s", "check inter 200ms")
    text = text.replace("bind :80", f"bind unix@{folder}/haproxy.sock")
    text = text.replace("defaults\n", "defaults\n    retries 0\n    no option redispatch\n")
    text = text.replace("log stdout", f"log {folder}/nobody.sock").replace(
        "default_backend machines", f"default_backend {backend}"
    )
    path = folder / "haproxy.cfg"
    path.write_text(text)
    return path


@contextmanager
def proxying(command: list[str], front: Path, log: Path) -> Iterator[str]:
    """Run a proxy; the address to ask is a unix socket's."""
    with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=output) as process:
        try:
            wait_until(lambda: is_listening(front) or process.poll() is not None, f"{command[0]} at {front}")
            assert process.poll() is None, log.read_text()
            yield str(front)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(10)


def run_haproxy(folder: Path) -> AbstractContextManager[str]:
    return proxying(
        [str(HAPROXY), "-db", "-f", str(write_haproxy(folder))],
        folder / "haproxy.sock",
        folder / "haproxy.log",
    )


def run_nginx(folder: Path) -> AbstractContextManager[str]:
    return proxying(
        [str(NGINX), "-c", str(write_nginx(folder)), "-p", str(folder)],
        folder / "nginx.sock",
        folder / "nginx.out",
    )


def list_arguments(node: int, shutdown_delay: str = "1s") -> list[str]:
    """A node's command line."""
    return [
        *(
            "nodes:app",
            "-e",
            f"NODE={node}",
            "--workers",
            "2",
            "--keep-alive",
            "2s",
            "--shutdown-delay",
            shutdown_delay,
        ),
        *("--bind", f"unix:{node}.sock", "--admin", f"unix:{node}-admin.sock"),
    ]


def wait_answer_of(node: int, front: str) -> None:
    """Until this node has answered through this proxy."""

    def is_answering() -> bool:
        with suppress(OSError, CutError, MalformedError):
            return get(front).body.startswith(b"%d " % node)
        return False

    wait_until(is_answering, f"an answer of node {node} through {front}")


def restart_each(
    nodes: dict[int, Running], begin: Callable[[int], Running], fronts: list[str], loads: list[MixedLoad]
) -> None:
    """Stop and start one after the other, each when the one before has taken traffic again through every proxy."""
    for node in list(nodes):
        wait_answers(loads)
        assert nodes[node].stop() == 0
        nodes[node] = begin(node)
        for front in fronts:
            wait_answer_of(node, front)
    wait_answers(loads)


def wait_answers(loads: list[MixedLoad]) -> None:
    """Until every kind of client of every load was answered again."""
    wanted = [load.answered + 20 for load in loads]
    wait_until(
        lambda: all(load.answered >= answers for load, answers in zip(loads, wanted, strict=True)), "answers"
    )

"""How fast could a server be? Two that run no app and answer what they were told: nginx, and a bare uvloop Protocol.

nginx is what a server in C costs, the kernel's part included; the Protocol is what the loop and the kernel cost a
server in Python that does nothing. It takes each read for one request, which holds for wrk and requests of a few KB.
"""

from __future__ import annotations

import os
import pwd

from servers import PROGRAMS, Server, Task

PIECE_BYTES = 1000
"""nginx refuses a word of more than 4096 bytes in its configuration."""

NGINX = """\
daemon off;
worker_processes {workers};
pid nginx.pid;
error_log error.log error;
{user}
events {{ worker_connections 1024; }}
http {{
  access_log off;
  default_type text/plain;
  keepalive_requests 1000000000;
  client_body_temp_path tmp-body; proxy_temp_path tmp-proxy; fastcgi_temp_path tmp-fastcgi;
  uwsgi_temp_path tmp-uwsgi; scgi_temp_path tmp-scgi;
  server {{
    listen 127.0.0.1:{port};
    location / {{
      {pieces}
      return 200 "{all}";
    }}
  }}
}}
"""


def nginx(_: Task) -> list[str]:
    return ["nginx", "-p", ".", "-c", "nginx.conf", "-e", "error.log"]


def configure_nginx(task: Task) -> dict[str, str]:
    text = (task.canned or b"").decode("ascii")
    pieces = [text[start : start + PIECE_BYTES] for start in range(0, len(text), PIECE_BYTES)]
    # As root it would give its workers to nobody, who may not enter the folder.
    user = f"user {pwd.getpwuid(os.geteuid()).pw_name};" if os.geteuid() == 0 else ""
    config = NGINX.format(
        workers=task.workers,
        user=user,
        port=task.port,
        pieces="\n      ".join(f"set $part{number}x '{piece}';" for number, piece in enumerate(pieces)),
        all="".join(f"$part{number}x" for number in range(len(pieces))),
    )
    return {"nginx.conf": config}


def bare_uvloop(task: Task) -> list[str]:
    program = str(PROGRAMS / "bare_uvloop.py")
    answer = "echo" if task.canned is None else "answer.txt"
    return [str(task.bin / "python"), program, str(task.port), str(task.workers), answer]


def write_answer(task: Task) -> dict[str, str]:
    return {} if task.canned is None else {"answer.txt": task.canned.decode("ascii")}


BARE_UVLOOP = Server("bare-uvloop", "uvloop", bare_uvloop, write_answer)
NGINX_RETURN = Server("nginx", "nginx", nginx, configure_nginx)

CEILINGS = {server.name: server for server in (BARE_UVLOOP, NGINX_RETURN)}
ECHO_CEILINGS = {BARE_UVLOOP.name: BARE_UVLOOP}
"""nginx by itself has nothing that says a body back."""

"""One frozen `Config`: everything the command line, the environment and the files decided.

It is data, already validated and resolved; it travels as JSON to the zygotes and through them to the workers.
Units are in the names: `_s` seconds, `_bytes` bytes.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from prefork.config.access_format import DEFAULT_FORMAT
from prefork.config.peers import BELIEVED, LOCAL

Interface = Literal["asgi", "wsgi", "stream", "protocol"]
InterfaceChoice = Literal["auto", "asgi", "wsgi", "stream", "protocol"]
LoopChoice = Literal["auto", "uvloop", "asyncio"]
PreloadChoice = Literal["auto", "always", "never"]
LogLevel = Literal["debug", "info", "warning", "error", "critical"]
CertReqs = Literal["none", "optional", "required"]
TlsVersion = Literal["1.2", "1.3"]
LogFormat = Literal["auto", "text", "json"]
LogTime = Literal["local", "utc", "none"]
WebSocketDrain = Literal["close", "wait"]


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole configuration of one service; the defaults here are the program's defaults."""

    app: str
    """Where the app is: `module:attr[.attr]`, `module:factory()` or `path/to/app.py[:attr]`."""
    name: str = "prefork"
    """Shown in process titles and log lines; made from the app's module or its directory unless given."""

    # listeners
    bind: tuple[str, ...] = ("127.0.0.1:8000",)
    """Each `HOST:PORT`, `[V6]:PORT`, `unix:/path` or `fd://N`, in normal form; port 0 asks for a free one."""
    backlog: int = 2048
    socket_mode: int = 0o660
    """Mode of a unix socket that we bind."""

    # workers
    workers: int = 1
    """How many, already resolved from `max`, `max-1`, `50%` or a number; at least 1."""
    workers_why: str = ""
    """How that number was found, for the log (`max: 2 CPUs in the affinity mask, no cgroup quota`)."""
    threads: int = 1
    """WSGI: 1 calls the app on the worker's own thread, more use a pool of that many threads."""
    preload: PreloadChoice = "auto"
    loop: LoopChoice = "auto"
    balance: str = "shared"
    """`shared`: workers accept. Otherwise the master accepts, and hands each connection to the worker that this
    strategy names: `round-robin`, `least-connections`, `ip-hash`, or a function of the user's, `module:function`.
    """

    # the app
    interface: InterfaceChoice = "auto"
    factory: bool = False
    """Call the attribute to get the app, as `module:factory()` does."""
    app_dir: str = "."
    """Put first on `sys.path`, relative to `chdir`."""
    chdir: str = "."
    """Absolute once resolved; the workers' current directory."""
    env: dict[str, str] = msgspec.field(default_factory=dict)
    """Set in the zygote before the app is imported: `--env-file`, then `-e K=V`."""
    root_path: str = ""

    # time, seconds
    timeout_s: float = 30.0
    """A serving loop that has not beaten for so long is stuck: dumped, killed, replaced. 0 turns it off."""
    boot_timeout_s: float = 60.0
    graceful_timeout_s: float = 30.0
    shutdown_delay_s: float = 0.0
    """After a graceful stop was asked, keep accepting for so long, so that load balancers leave first."""
    keep_alive_s: float = 5.0
    header_timeout_s: float = 10.0
    request_timeout_s: float = 0.0
    """From a request's complete head to the end of its response. 0: no limit."""
    min_body_rate_bytes: int = 240
    """Per second; a client that sends its body more slowly is refused. 0: no limit."""

    # crashes
    min_uptime_s: float = 1.0
    """A worker that dies sooner than this after it was ready died young: its slot backs off."""
    max_restarts: int = 16
    """A slot whose workers died young so many times in a row is `failed`."""

    # reload
    settle_s: float = 1.0
    """How long the first worker of a new generation must have been ready before the others follow."""
    surge: str = "1"
    """How many successors may boot at the same time, or what share of the workers: `2`, `25%`."""
    wait_ready: bool = False
    """A worker is ready only when its app has called `prefork.ready()`."""

    # development
    reload: bool = False
    """Reload when a file of the app's changes."""
    reload_dir: tuple[str, ...] = ()
    """What is watched for that; absolute, and never empty, once resolved with `reload`."""
    reload_include: tuple[str, ...] = ()
    """Patterns of names watched besides `*.py`."""
    reload_exclude: tuple[str, ...] = ()
    config_file: str = ""
    """The file that was read, absolute; empty if there was none."""
    worker_hooks: tuple[str, ...] = ()
    """Names of functions in `config_file`, then a gunicorn.conf.py, that each worker calls."""
    read_from: tuple[str, ...] = ()
    """The files that all this was read from, or would be if they were there."""

    # recycling
    max_requests: int = 0
    """0: no limit."""
    max_requests_jitter: str = "10%"
    """Each worker's limit is higher by a random number up to this: `50`, `10%`."""
    max_memory_bytes: int = 0
    max_age_s: float = 0.0

    # HTTP
    limit_request_line_bytes: int = 8190
    limit_request_fields: int = 100
    limit_request_field_size_bytes: int = 8190
    limit_request_body_bytes: int = 0
    """0: no limit."""
    server_header: bool = True
    date_header: bool = True
    limit_concurrency: int = 0
    """Requests being answered at the same time by one worker; 0: no limit."""
    request_id: bool = False

    # proxies
    proxy_protocol: bool = False
    """Peers of `forwarded_allow_ips` begin with a PROXY header."""
    forwarded_allow_ips: tuple[str, ...] = LOCAL
    """Peers that are trusted to say for whom they speak, in the normal form of `peers.py`."""
    forwarded_headers: tuple[str, ...] = BELIEVED
    """The fields in which they may say so, in lower case."""

    # TLS
    certfile: str | None = None
    """None: no TLS. It, `keyfile` and `ca_certs` are absolute once resolved, and read again by each reload."""
    keyfile: str | None = None
    """None: the key is in `certfile`."""
    ssl_keyfile_password: str | None = None
    """Never shown, and never passed on: see `provisions`."""
    ca_certs: str | None = None
    cert_reqs: CertReqs = "none"
    ssl_ciphers: str | None = None
    """None: what Python takes."""
    ssl_min_version: TlsVersion = "1.2"
    ssl_handshake_timeout_s: float = 10.0
    # WebSocket
    ws_max_size_bytes: int = 16 * 1024 * 1024
    """Of a message, put together and inflated. 0: no limit."""
    ws_ping_interval_s: float = 20.0
    """0: no pings."""
    ws_ping_timeout_s: float = 20.0
    """A client that says nothing for so long after a ping is gone. 0: it may be silent for ever."""
    ws_per_message_deflate: bool = True
    drain_websockets: WebSocketDrain = "close"
    """What a worker that drains does with its open WebSockets: close them with 1012, or wait for their end."""

    # process
    user: str | None = None
    group: str | None = None
    umask: int | None = None
    pid: str | None = None
    """Path of the pidfile."""

    # logs
    log_level: LogLevel = "info"
    log_format: LogFormat = "auto"
    log_file: str | None = None
    """None or `-`: standard error."""
    log_max_size_bytes: int = 0
    """A log file or an access log that has grown past it is renamed. 0: never."""
    log_keep: int = 5
    """So many renamed ones are kept."""
    log_time: LogTime = "local"
    """The stamp of text lines; JSON has its own."""
    capture_output: bool | None = None
    """Whether lines that the app prints become lines of the log. None: if that is JSON, where each is a record, or
    where they would go to the log file anyway.
    """
    slow_s: float = 1.0
    """A request, or an event loop, that hangs for longer is told of, with its stack. 0: never."""
    access_log: str | None = None
    """None: there is none; `-`: standard output."""
    access_log_format: str = DEFAULT_FORMAT

    # operation
    admin: tuple[str, ...] = ()
    """Where the admin process listens, as in `bind`. Empty: there is none."""
    agent_check: tuple[str, ...] = ()
    """Where the admin process tells HAProxy whether it shall send clients, and how many."""
    min_ready: str = "1"
    """So many ready workers, or what share of those wanted, make the service ready for traffic: `2`, `50%`."""

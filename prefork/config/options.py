"""The one table of options: what can be set, under which names, and what it means.

A row's key is its flag (`--keep-alive`), its TOML key (`keep-alive`, also `keep_alive`), its variable
(`PREFORK_KEEP_ALIVE`) and its keyword in `prefork.run` (`keep_alive`). Defaults are not repeated here: they are
those of `model.Config`. Only what works is listed. The help text teaches: it says what happens, not what the name is.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import msgspec

from prefork.config import kinds, model
from prefork.config.kinds import Kind
from prefork.config.workers import MAX_WORKERS

GROUPS = (
    "App", "Listeners", "Workers", "Time", "Reload", "Development", "Recycling", "Crashes", "HTTP",
    "WebSocket", "Proxies", "TLS", "Process", "Logs", "Operation",
)  # fmt: skip


class Alias(msgspec.Struct, frozen=True):
    """Another tool's name for an option of ours; `kind` when that tool's values read differently."""

    key: str
    kind: Kind | None = None
    short: str = ""


class Option(msgspec.Struct, frozen=True):
    """One thing that can be set."""

    key: str
    field: str
    """The field of Config it decides, alone or with other options of the same field."""
    kind: Kind
    group: str
    help: str
    short: str = ""
    aliases: tuple[Alias, ...] = ()
    repeatable: bool = False
    """The flag may be given several times; the values add up."""
    positional: bool = False
    """On the command line it is the argument, not a flag."""


OPTIONS: tuple[Option, ...] = (
    Option(
        "app",
        "app",
        kinds.TEXT,
        "App",
        "Where the app is: module:attr, module:factory() or path/to/app.py[:attr].",
        positional=True,
    ),
    Option(
        "interface",
        "interface",
        kinds.interface_kind(model.InterfaceChoice),
        "App",
        "What the app speaks; auto looks at it and says what it found.",
        aliases=(Alias("worker-class", kinds.WORKER_CLASS, "-k"),),
    ),
    Option(
        "factory",
        "factory",
        kinds.SWITCH,
        "App",
        "Call the attribute to get the app, as module:factory() does.",
    ),
    Option(
        "app-dir",
        "app_dir",
        kinds.PATH,
        "App",
        "Put first on sys.path, relative to --chdir.",
        aliases=(Alias("pythonpath"),),
    ),
    Option(
        "chdir",
        "chdir",
        kinds.PATH,
        "App",
        "Directory to work in; relative paths of the other options start there.",
    ),
    Option(
        "env",
        "env",
        kinds.PAIRS,
        "App",
        "Set in the app's environment before it is imported (repeatable).",
        short="-e",
        repeatable=True,
    ),
    Option(
        "env-file",
        "env",
        kinds.PATHS,
        "App",
        "Read such settings from a file of KEY=VALUE lines; --env wins (repeatable).",
        repeatable=True,
    ),
    Option(
        "root-path",
        "root_path",
        kinds.ROOT_PATH,
        "App",
        "Path the app is mounted at behind a proxy that strips it, e.g. /api.",
    ),
    Option(
        "bind",
        "bind",
        kinds.BIND,
        "Listeners",
        "HOST:PORT, :PORT (all IPv4), [::1]:80, unix:/path, fd://3 (repeatable).",
        short="-b",
        repeatable=True,
    ),
    Option("host", "bind", kinds.HOST, "Listeners", "Host alone; the port is --port or 8000."),
    Option("port", "bind", kinds.PORT, "Listeners", "Port alone; the host is --host or 127.0.0.1."),
    Option("uds", "bind", kinds.UNIX_PATH, "Listeners", "Path of a unix socket, as --bind unix:PATH."),
    Option("fd", "bind", kinds.DESCRIPTOR, "Listeners", "Inherited listening socket, as --bind fd://N."),
    Option(
        "backlog",
        "backlog",
        kinds.count_kind(1, 65535),
        "Listeners",
        "Connections that may wait in the kernel (it caps this at net.core.somaxconn).",
    ),
    Option(
        "socket-mode",
        "socket_mode",
        kinds.MODE,
        "Listeners",
        "Mode of the unix sockets we make.",
    ),
    Option(
        "workers",
        "workers",
        kinds.WORKERS,
        "Workers",
        "How many; max is one per CPU that we may use (affinity and cgroup quota).",
        short="-w",
        aliases=(Alias("instances", kinds.INSTANCES, "-i"),),
    ),
    Option(
        "threads",
        "threads",
        kinds.count_kind(1, MAX_WORKERS),
        "Workers",
        "WSGI: 1 calls the app on the worker's own thread, more use a pool of threads.",
    ),
    Option(
        "preload",
        "preload",
        kinds.choice_kind(model.PreloadChoice),
        "Workers",
        "Import the app once and fork workers from there; auto checks that it is safe.",
    ),
    Option(
        "loop",
        "loop",
        kinds.choice_kind(model.LoopChoice),
        "Workers",
        "auto is uvloop if installed.",
        aliases=(Alias("asgi-loop"),),
    ),
    Option(
        "balance",
        "balance",
        kinds.BALANCE,
        "Workers",
        "Who gets a connection: shared leaves it to the workers, the others to the master.",
    ),
    Option(
        "timeout",
        "timeout_s",
        kinds.DURATION,
        "Time",
        "A worker whose loop is stuck so long is dumped, killed and replaced; 0: never.",
        short="-t",
    ),
    Option(
        "boot-timeout",
        "boot_timeout_s",
        kinds.POSITIVE_DURATION,
        "Time",
        "From fork to ready, import and startup included.",
        aliases=(Alias("listen-timeout", kinds.POSITIVE_MILLISECONDS),),
    ),
    Option(
        "graceful-timeout",
        "graceful_timeout_s",
        kinds.DURATION,
        "Time",
        "How long requests in flight may take after a stop or a reload.",
        aliases=(Alias("timeout-graceful-shutdown"), Alias("kill-timeout", kinds.MILLISECONDS)),
    ),
    Option(
        "shutdown-delay",
        "shutdown_delay_s",
        kinds.DURATION,
        "Time",
        "After TERM keep accepting for so long, so that load balancers leave first.",
    ),
    Option(
        "keep-alive",
        "keep_alive_s",
        kinds.DURATION,
        "Time",
        "How long a connection may idle between requests.",
        aliases=(Alias("timeout-keep-alive"),),
    ),
    Option(
        "header-timeout",
        "header_timeout_s",
        kinds.DURATION,
        "Time",
        "How long a client may take to send the head of a request; 0: no limit.",
    ),
    Option(
        "min-body-rate",
        "min_body_rate_bytes",
        kinds.RATE,
        "Time",
        "Bytes a second of a body, on average after 10 s, or 408; 0: only silence of 60 s ends it.",
    ),
    Option(
        "request-timeout",
        "request_timeout_s",
        kinds.DURATION,
        "Time",
        "From a request's head to the end of its answer, or 504; cannot interrupt WSGI code (--timeout can); 0: never.",
    ),
    Option(
        "settle",
        "settle_s",
        kinds.DURATION,
        "Reload",
        "How long the first new worker must have been ready before the others follow.",
    ),
    Option(
        "surge",
        "surge",
        kinds.POSITIVE_SHARE,
        "Reload",
        "After the first, so many workers are replaced at the same time.",
    ),
    Option(
        "wait-ready",
        "wait_ready",
        kinds.SWITCH,
        "Reload",
        "A worker is ready only when its app has called prefork.ready().",
    ),
    Option(
        "reload",
        "reload",
        kinds.SWITCH,
        "Development",
        "Reload when a file changes: the app's *.py, the configuration, its env-files.",
        aliases=(Alias("watch"),),
    ),
    Option(
        "reload-dir",
        "reload_dir",
        kinds.DIRECTORIES,
        "Development",
        "Watch this directory and all below it (repeatable); the app's own unless given.",
        repeatable=True,
    ),
    Option(
        "reload-include",
        "reload_include",
        kinds.PATTERNS,
        "Development",
        "Watch files of such names too, beside *.py: *.html, templates/* (repeatable).",
        repeatable=True,
    ),
    Option(
        "reload-exclude",
        "reload_exclude",
        kinds.PATTERNS,
        "Development",
        "Files and directories of such names do not count (repeatable).",
        repeatable=True,
    ),
    Option(
        "max-requests",
        "max_requests",
        kinds.COUNT,
        "Recycling",
        "Replace a worker that has answered so many requests; 0: never.",
        aliases=(Alias("limit-max-requests"),),
    ),
    Option(
        "max-requests-jitter",
        "max_requests_jitter",
        kinds.SHARE,
        "Recycling",
        "Up to so many more, at random, so that workers do not go all at once.",
        aliases=(Alias("limit-max-requests-jitter"),),
    ),
    Option(
        "max-memory",
        "max_memory_bytes",
        kinds.SIZE,
        "Recycling",
        "Replace a worker that holds more memory (its own, not what it shares); 0: never.",
        aliases=(Alias("max-memory-restart"),),
    ),
    Option(
        "max-age",
        "max_age_s",
        kinds.DURATION,
        "Recycling",
        "Replace a worker that has been ready for so long; 0: never.",
    ),
    Option(
        "min-uptime",
        "min_uptime_s",
        kinds.DURATION,
        "Crashes",
        "A worker that dies sooner died young: the next fork into its slot waits longer.",
    ),
    Option(
        "max-restarts",
        "max_restarts",
        kinds.count_kind(1),
        "Crashes",
        "After so many young deaths in a row a slot has failed and is left alone.",
    ),
    Option(
        "limit-request-line",
        "limit_request_line_bytes",
        kinds.SIZE,
        "HTTP",
        "Longest request line in bytes (414); 0: no limit.",
    ),
    Option(
        "limit-request-fields",
        "limit_request_fields",
        kinds.COUNT,
        "HTTP",
        "Most header fields of a request (431); 0: no limit.",
    ),
    Option(
        "limit-request-field-size",
        "limit_request_field_size_bytes",
        kinds.SIZE,
        "HTTP",
        "Longest header field in bytes (431); 0: no limit.",
    ),
    Option(
        "limit-request-body",
        "limit_request_body_bytes",
        kinds.SIZE,
        "HTTP",
        "Largest request body (413); 0: no limit.",
    ),
    Option(
        "server-header", "server_header", kinds.SWITCH, "HTTP", "Whether responses say `server: prefork`."
    ),
    Option("date-header", "date_header", kinds.SWITCH, "HTTP", "Whether responses carry the date."),
    Option(
        "limit-concurrency",
        "limit_concurrency",
        kinds.COUNT,
        "HTTP",
        "Requests that one worker answers at the same time (503 past it); 0: no limit.",
        aliases=(Alias("worker-connections"),),
    ),
    Option(
        "request-id",
        "request_id",
        kinds.SWITCH,
        "HTTP",
        "Give every request an X-Request-ID, the client's own if it sent a valid one.",
    ),
    Option(
        "ws-max-size",
        "ws_max_size_bytes",
        kinds.SIZE,
        "WebSocket",
        "Largest message of a client, inflated (close code 1009); 0: no limit.",
        aliases=(Alias("websocket-max-message-size"),),
    ),
    Option(
        "ws-ping-interval",
        "ws_ping_interval_s",
        kinds.DURATION,
        "WebSocket",
        "Ping every client so often; 0: never.",
    ),
    Option(
        "ws-ping-timeout",
        "ws_ping_timeout_s",
        kinds.DURATION,
        "WebSocket",
        "A client silent for so long after a ping is closed (1011); 0: never.",
    ),
    Option(
        "ws-per-message-deflate",
        "ws_per_message_deflate",
        kinds.SWITCH,
        "WebSocket",
        "Whether messages are compressed for clients that offer it.",
    ),
    Option(
        "drain-websockets",
        "drain_websockets",
        kinds.choice_kind(model.WebSocketDrain),
        "WebSocket",
        "At a reload or stop: close them with 1012, or wait until they end by themselves.",
    ),
    Option(
        "proxy-protocol",
        "proxy_protocol",
        kinds.SWITCH,
        "Proxies",
        "Trusted peers begin with a PROXY header (v1 or v2) that says for whom they speak.",
    ),
    Option(
        "forwarded-allow-ips",
        "forwarded_allow_ips",
        kinds.PEERS,
        "Proxies",
        "Who may say for whom it speaks: addresses, networks, unix, * (repeatable).",
        aliases=(Alias("proxy-allow-from"),),
        repeatable=True,
    ),
    Option(
        "forwarded-headers",
        "forwarded_headers",
        kinds.FORWARDED_HEADERS,
        "Proxies",
        "Which fields of theirs are believed: those that your proxy sets itself (repeatable).",
        aliases=(Alias("proxy-headers", kinds.PROXY_HEADERS),),
        repeatable=True,
    ),
    Option(
        "certfile",
        "certfile",
        kinds.PATH,
        "TLS",
        "Speak TLS with this certificate: PEM, with those above it; it may hold the key too.",
        aliases=(Alias("ssl-certfile"),),
    ),
    Option(
        "keyfile",
        "keyfile",
        kinds.PATH,
        "TLS",
        "The certificate's private key, PEM; read before --user takes effect.",
        aliases=(Alias("ssl-keyfile"),),
    ),
    Option(
        "ssl-keyfile-password",
        "ssl_keyfile_password",
        kinds.SECRET,
        "TLS",
        "What the key is encrypted with; ps shows flags, so better PREFORK_SSL_KEYFILE_PASSWORD.",
    ),
    Option(
        "ca-certs",
        "ca_certs",
        kinds.PATH,
        "TLS",
        "Who signs clients' certificates, for --cert-reqs: a PEM file.",
        aliases=(Alias("ssl-ca-certs"),),
    ),
    Option(
        "cert-reqs",
        "cert_reqs",
        kinds.CERT_REQS,
        "TLS",
        "Whether clients may or must show a certificate.",
        aliases=(Alias("ssl-cert-reqs"),),
    ),
    Option(
        "ssl-ciphers",
        "ssl_ciphers",
        kinds.TEXT,
        "TLS",
        "Ciphers of TLS 1.2 in OpenSSL's notation; Python's own choice unless given.",
        aliases=(Alias("ciphers"),),
    ),
    Option("ssl-min-version", "ssl_min_version", kinds.TLS_VERSION, "TLS", "Oldest TLS that is spoken."),
    Option(
        "ssl-handshake-timeout",
        "ssl_handshake_timeout_s",
        kinds.POSITIVE_DURATION,
        "TLS",
        "How long to wait for a client to begin a handshake, and then for its end.",
    ),
    Option(
        "name",
        "name",
        kinds.NAME,
        "Process",
        "Shown in ps and in the log; made from the app's module unless given.",
        short="-n",
    ),
    Option("pid", "pid", kinds.PATH, "Process", "Write the master's pid to this file.", short="-p"),
    Option(
        "user",
        "user",
        kinds.OWNER,
        "Process",
        "Become this user after binding, before the app is imported (needs root).",
        short="-u",
    ),
    Option(
        "group",
        "group",
        kinds.OWNER,
        "Process",
        "Become this group; the user's own unless given.",
        short="-g",
    ),
    Option("umask", "umask", kinds.UMASK, "Process", "Mask of the files the app makes.", short="-m"),
    Option(
        "log-level",
        "log_level",
        kinds.choice_kind(model.LogLevel),
        "Logs",
        "Least severe that is logged.",
    ),
    Option(
        "log-format",
        "log_format",
        kinds.choice_kind(model.LogFormat),
        "Logs",
        "json writes one object a line; auto is text.",
    ),
    Option(
        "log-file",
        "log_file",
        kinds.LOG_FILE,
        "Logs",
        "Write the log here instead of standard error (-).",
        aliases=(Alias("error-logfile"), Alias("errorlog")),
    ),
    Option(
        "log-max-size",
        "log_max_size_bytes",
        kinds.SIZE,
        "Logs",
        "Rename the log file, or the access log, to FILE.1 when it has grown past this; 0: never.",
    ),
    Option(
        "log-keep",
        "log_keep",
        kinds.count_kind(1, 1000),
        "Logs",
        "How many renamed ones to keep, FILE.1 the newest.",
    ),
    Option(
        "log-time",
        "log_time",
        kinds.choice_kind(model.LogTime),
        "Logs",
        "The stamp of text lines: local time, utc, or none where the reader stamps them (journald).",
        aliases=(Alias("time", kinds.TIME_SWITCH),),
    ),
    Option(
        "capture-output",
        "capture_output",
        kinds.CAPTURE_OUTPUT,
        "Logs",
        "Make what the app prints lines of the log that say whose they are; so it is with json.",
    ),
    Option(
        "slow",
        "slow_s",
        kinds.DURATION,
        "Logs",
        "Tell of a request, or an event loop, that hangs for longer, with the stack; 0: never.",
    ),
    Option(
        "access-log",
        "access_log",
        kinds.ACCESS_LOG,
        "Logs",
        "Write a line for each request here; - is standard output.",
        aliases=(Alias("access-logfile"), Alias("accesslog"), Alias("no-access-log", kinds.NO_ACCESS_LOG)),
    ),
    Option(
        "access-log-format",
        "access_log_format",
        kinds.ACCESS_FORMAT,
        "Logs",
        "What a line says, in gunicorn's atoms.",
        aliases=(Alias("access-logformat"),),
    ),
    Option(
        "admin",
        "admin",
        kinds.ADMIN,
        "Operation",
        "Serve /livez /readyz /metrics /status.json there, for operators alone (repeatable).",
        repeatable=True,
    ),
    Option(
        "agent-check",
        "agent_check",
        kinds.ADMIN,
        "Operation",
        "Answer HAProxy's agent-check there: up and its weight, drain, or down (repeatable).",
        repeatable=True,
    ),
    Option(
        "min-ready",
        "min_ready",
        kinds.POSITIVE_SHARE,
        "Operation",
        "So many workers must be ready for /readyz to say so; also a share, 50%.",
    ),
)


class Name(msgspec.Struct, frozen=True):
    """One accepted name: the option it sets, and how its value is read there."""

    key: str
    option: Option
    kind: Kind
    short: str = ""


def list_names() -> tuple[Name, ...]:
    """Every accepted name, an option's own before its aliases, in the table's order."""
    names = []
    for option in OPTIONS:
        names.append(Name(option.key, option, option.kind, option.short))
        names += [Name(alias.key, option, alias.kind or option.kind, alias.short) for alias in option.aliases]
    return tuple(names)


NAMES: Mapping[str, Name] = MappingProxyType({name.key: name for name in list_names()})
"""From a key as written, with hyphens, to what it sets."""


def decides_field(option: Option) -> bool:
    """Is this the option its field is named after, rather than one that adds to it (`--port`, `--env-file`)?"""
    return option.key == option.field.removesuffix("_s").removesuffix("_bytes").replace("_", "-")


def find_default(option: Option) -> object:
    """The default of the field that an option decides; None when it is required, or when others decide it."""
    if not decides_field(option):
        return None
    field = next(field for field in msgspec.structs.fields(model.Config) if field.name == option.field)
    if field.default_factory is not msgspec.NODEFAULT:
        return field.default_factory()
    return None if field.required else field.default

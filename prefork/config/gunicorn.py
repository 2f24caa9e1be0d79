"""gunicorn's settings → ours: every one has a row, as a key of ours or as what to do instead.

Pure. `list_flags` says what of gunicorn's command line is not ours, `translate` reads what a gunicorn.conf.py sets.
A setting without a counterpart that is at gunicorn's default changes nothing, and is passed over.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import msgspec


class Left(msgspec.Struct, frozen=True):
    """A setting that has no counterpart."""

    name: str
    instead: str
    """What to do in its place."""


class Translated(msgspec.Struct, frozen=True):
    """A file of another program's, in our words."""

    keys: Mapping[str, object]
    """As in a prefork.toml; in the order of the source."""
    left: tuple[Left, ...] = ()
    hooks: tuple[str, ...] = ()
    """Names of functions that each worker can call."""


class _Own(msgspec.Struct, frozen=True):
    """Ours, with another name."""

    key: str
    convert: Callable[[object], object] | None = None


class _Other(msgspec.Struct, frozen=True):
    """None of ours."""

    instead: str
    harmless: tuple[object, ...] = ()
    """Values, beside the empty ones, that ask for what happens here anyway."""
    flags: tuple[str, ...] = ()
    """Its flags, without the hyphens."""


_LOGGING = "log lines are set by --log-format, --log-level and --log-file"
_STATSD = "leave it out: --admin serves /metrics for Prometheus"
_SYSLOG = "leave it out: log to standard error, and let journald or the container's runtime send it on"
_STRICT = "leave it out: what RFC 9112 forbids is refused"
_HTTP2 = "leave it out: HTTP/2 ends at the proxy in front"
_DIRTY = "run that app as a service of its own: an [app.NAME] table"
_UWSGI = "leave it out: HTTP is spoken here; in nginx, proxy_pass in place of uwsgi_pass"
_CONTROL = "leave it out: each service has a control socket, see prefork ls"
_PASTE = "serve an app that loads it: app = loadapp('config:FILE') in a module"

OWN_HOOK = "decorate a function of the app's with @prefork.on_worker_start"
_LOG_TELLS = (
    "leave it out: the log and prefork events tell of it; code of the service's never runs in the master"
)

SETTINGS: Mapping[str, _Own | _Other] = MappingProxyType(
    {
        "access_log_format": _Own("access-log-format"),
        "accesslog": _Own("access-log"),
        "asgi_disconnect_grace_period": _Other(
            "leave it out: an app whose client has gone may go on, see --request-timeout",
            (3,),
            ("asgi-disconnect-grace-period",),
        ),
        "asgi_lifespan": _Other(
            "leave it out: an app that speaks lifespan is heard, one that does not is served without",
            ("auto", "on"),
            ("asgi-lifespan",),
        ),
        "asgi_loop": _Own("loop"),
        "backlog": _Own("backlog"),
        "bind": _Own("bind"),
        "ca_certs": _Own("ca-certs"),
        "capture_output": _Own("capture-output"),
        "casefold_http_method": _Other(_STRICT, (), ("casefold-http-method",)),
        "cert_reqs": _Own("cert-reqs"),
        "certfile": _Own("certfile"),
        "chdir": _Own("chdir"),
        "check_config": _Other("prefork check APP", (), ("check-config",)),
        "ciphers": _Own("ssl-ciphers"),
        "config": _Other("name the file with -c"),
        "control_socket": _Other(_CONTROL, (), ("control-socket",)),
        "control_socket_disable": _Other(_CONTROL, (), ("no-control-socket",)),
        "control_socket_mode": _Other(_CONTROL, (0o600,), ("control-socket-mode",)),
        "daemon": _Other("prefork start runs it in the background", (), ("daemon", "D")),
        "default_proc_name": _Other("set name", ("gunicorn",)),
        "dirty_apps": _Other(_DIRTY, (), ("dirty-app",)),
        "dirty_graceful_timeout": _Other(_DIRTY, (30,), ("dirty-graceful-timeout",)),
        "dirty_threads": _Other(_DIRTY, (1,), ("dirty-threads",)),
        "dirty_timeout": _Other(_DIRTY, (300,), ("dirty-timeout",)),
        "dirty_workers": _Other(_DIRTY, (0,), ("dirty-workers",)),
        "disable_redirect_access_to_syslog": _Other(_SYSLOG, (), ("disable-redirect-access-to-syslog",)),
        "do_handshake_on_connect": _Other(
            "leave it out: a handshake has --ssl-handshake-timeout", (True,), ("do-handshake-on-connect",)
        ),
        "dogstatsd_tags": _Other(_STATSD, (), ("dogstatsd-tags",)),
        "enable_backlog_metric": _Other(
            "leave it out: --admin serves it in /metrics", (), ("enable-backlog-metric",)
        ),
        "enable_stdio_inheritance": _Other(
            "leave it out: the app's output is never redirected unless --capture-output says so",
            (True,),
            ("enable-stdio-inheritance", "R"),
        ),
        "errorlog": _Own("log-file"),
        "forwarded_allow_ips": _Own("forwarded-allow-ips"),
        "forwarder_headers": _Other(
            "set root-path for SCRIPT_NAME; fields of the proxy's are believed by --forwarded-headers",
            ("SCRIPT_NAME,PATH_INFO", ["SCRIPT_NAME", "PATH_INFO"]),
            ("forwarder-headers",),
        ),
        "graceful_timeout": _Own("graceful-timeout"),
        "group": _Own("group"),
        "header_map": _Other(
            "leave it out: fields with an underscore are dropped", ("drop",), ("header-map",)
        ),
        "http2_cleartext": _Other(_HTTP2, ("off",), ("http2-cleartext",)),
        "http2_initial_window_size": _Other(_HTTP2, (65535,), ("http2-initial-window-size",)),
        "http2_max_concurrent_streams": _Other(_HTTP2, (100,), ("http2-max-concurrent-streams",)),
        "http2_max_frame_size": _Other(_HTTP2, (16384,), ("http2-max-frame-size",)),
        "http2_max_header_list_size": _Other(_HTTP2, (65536,), ("http2-max-header-list-size",)),
        "http_parser": _Other(
            "leave it out: HTTP/1.1 is parsed by llhttp", ("auto", "fast", "python"), ("http-parser",)
        ),
        "http_protocols": _Other(_HTTP2, ("h1", ["h1"]), ("http-protocols",)),
        "initgroups": _Other("leave it out: --user brings the user's groups", (True,), ("initgroups",)),
        "keepalive": _Own("keep-alive"),
        "keyfile": _Own("keyfile"),
        "limit_request_field_size": _Own("limit-request-field-size"),
        "limit_request_fields": _Own("limit-request-fields"),
        "limit_request_line": _Own("limit-request-line"),
        "logconfig": _Other(_LOGGING, (), ("log-config",)),
        "logconfig_dict": _Other(_LOGGING),
        "logconfig_json": _Other(_LOGGING, (), ("log-config-json",)),
        "logger_class": _Other(_LOGGING, ("gunicorn.glogging.Logger",), ("logger-class",)),
        "loglevel": _Own("log-level"),
        "max_requests": _Own("max-requests"),
        "max_requests_jitter": _Own("max-requests-jitter"),
        "paste": _Other(_PASTE, (), ("paste", "paster")),
        "permit_obsolete_folding": _Other(_STRICT, (), ("permit-obsolete-folding",)),
        "permit_unconventional_http_method": _Other(_STRICT, (), ("permit-unconventional-http-method",)),
        "permit_unconventional_http_version": _Other(_STRICT, (), ("permit-unconventional-http-version",)),
        "pidfile": _Own("pid"),
        "preload_app": _Own("preload", lambda value: "always" if value else "never"),
        "print_config": _Other("prefork config", (), ("print-config",)),
        "proc_name": _Own("name"),
        "protocol": _Other(_UWSGI, ("http",), ("protocol",)),
        "proxy_allow_ips": _Own("proxy-allow-from"),
        "proxy_protocol": _Own("proxy-protocol", lambda value: value not in (False, "off", "false")),
        "pythonpath": _Own("app-dir"),
        "raw_env": _Own("env"),
        "raw_paste_global_conf": _Other(_PASTE, (), ("paste-global",)),
        "reload": _Own("reload"),
        "reload_engine": _Other(
            "leave it out: watchfiles if it is installed, else polling",
            ("auto", "poll", "inotify"),
            ("reload-engine",),
        ),
        "reload_extra_files": _Other(
            "reload-include = names of files, reload-dir = where they are", (), ("reload-extra-file",)
        ),
        "reuse_port": _Other(
            "leave it out: all workers share one listener, see --balance", (), ("reuse-port",)
        ),
        "root_path": _Own("root-path"),
        "secure_scheme_headers": _Other(
            "set forwarded-headers = the fields that your proxy sets itself",
            (
                {"X-FORWARDED-PROTOCOL": "ssl", "X-FORWARDED-PROTO": "https", "X-FORWARDED-SSL": "on"},
                {"X-FORWARDED-PROTO": "https"},
            ),
        ),
        "sendfile": _Other(
            "leave it out: files go by sendfile where that is faster", (True, False), ("no-sendfile",)
        ),
        "spew": _Other("py-spy dump, or prefork stacks NAME", (), ("spew",)),
        "ssl_version": _Other("ssl-min-version = 1.2 or 1.3", (2,), ("ssl-version",)),
        "statsd_host": _Other(_STATSD, (), ("statsd-host",)),
        "statsd_prefix": _Other(_STATSD, (), ("statsd-prefix",)),
        "strip_header_spaces": _Other(_STRICT, (), ("strip-header-spaces",)),
        "suppress_ragged_eofs": _Other(
            "leave it out: a client that leaves without goodbye is no error",
            (True,),
            ("suppress-ragged-eofs",),
        ),
        "syslog": _Other(_SYSLOG, (), ("log-syslog",)),
        "syslog_addr": _Other(_SYSLOG, ("udp://localhost:514",), ("log-syslog-to",)),
        "syslog_facility": _Other(_SYSLOG, ("user",), ("log-syslog-facility",)),
        "syslog_prefix": _Other(_SYSLOG, (), ("log-syslog-prefix",)),
        "threads": _Own("threads"),
        "timeout": _Own("timeout"),
        "tmp_upload_dir": _Other("set TMPDIR in env: large bodies are kept there"),
        "umask": _Own("umask"),
        "user": _Own("user"),
        "uwsgi_allow_ips": _Other(_UWSGI, ("127.0.0.1,::1", ["127.0.0.1", "::1"]), ("uwsgi-allow-from",)),
        "websocket_max_message_size": _Own("ws-max-size"),
        "worker_class": _Own("worker-class"),
        "worker_connections": _Own("worker-connections"),
        "worker_tmp_dir": _Other(
            "leave it out: workers beat in shared memory",
            ("/dev/shm",),  # noqa: S108  # a word
            ("worker-tmp-dir",),
        ),
        "workers": _Own("workers"),
        "wsgi_app": _Own("app"),
    }
)
"""Every setting of gunicorn 27, but its hooks."""

HOOKS: Mapping[str, str] = MappingProxyType(
    {
        "on_starting": _LOG_TELLS,
        "on_reload": _LOG_TELLS,
        "when_ready": "leave it out: systemd hears READY, others ask --admin's /readyz; no code runs in the master",
        "pre_fork": "do it while the app is imported: code of the service's never runs in the master",
        "pre_exec": _LOG_TELLS,
        "post_fork": OWN_HOOK,
        "post_worker_init": OWN_HOOK,
        "worker_int": "decorate a function of the app's with @prefork.on_shutdown",
        "worker_abort": "leave it out: who is stuck for --timeout has its stacks in the log",
        "worker_exit": "decorate a function of the app's with @prefork.on_shutdown",
        "child_exit": "leave it out: metrics of the dead are kept, see PROMETHEUS_MULTIPROC_DIR in docs/deploying.md",
        "nworkers_changed": _LOG_TELLS,
        "on_exit": "ExecStopPost= of systemd, or @prefork.on_shutdown in each worker; no code runs in the master",
        "pre_request": "write it as a middleware of the app's",
        "post_request": "write it as a middleware of the app's",
        "ssl_context": "set ssl-min-version, ssl-ciphers, cert-reqs",
        "on_dirty_starting": _DIRTY,
        "dirty_post_fork": _DIRTY,
        "dirty_worker_init": _DIRTY,
        "dirty_worker_exit": _DIRTY,
    }
)
"""gunicorn's hooks, each with its place in a service that has no gunicorn.conf.py."""

IN_WORKERS = frozenset({"post_fork", "post_worker_init", "worker_exit"})
"""Those that each worker calls when the service goes by the file itself."""


def list_flags() -> dict[str, str]:
    """Flags of gunicorn's that mean nothing here, without their hyphens, each with what to do instead."""
    return {flag: row.instead for row in SETTINGS.values() if isinstance(row, _Other) for flag in row.flags}


def translate(settings: Mapping[str, object], hooks: Mapping[str, str]) -> Translated:
    """What a gunicorn.conf.py sets; `hooks` has their names, with how they are called: `(server, worker)`."""
    keys: dict[str, object] = {}
    left: list[Left] = []
    for name, value in settings.items():
        row = SETTINGS[name]
        if isinstance(row, _Own):
            if value is not None:
                keys[row.key] = value if row.convert is None else row.convert(value)
        elif value and value not in row.harmless:
            left.append(Left(name, row.instead))
    left += [Left(name + arguments, HOOKS[name]) for name, arguments in hooks.items()]
    return Translated(keys, tuple(left), tuple(name for name in hooks if name in IN_WORKERS))

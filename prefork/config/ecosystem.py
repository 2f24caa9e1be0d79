"""PM2's ecosystem file → its apps, in our words.

Pure. The file is JSON as PM2 takes it (comments, trailing commas), or JavaScript that only exports such an object:
anything that would have to be run is refused by its line. Every key of an app's has a row here, as a key of ours or as
what to do instead; of a key that PM2 does not know either, that is said.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import msgspec

from prefork.config.gunicorn import Left, Translated
from prefork.errors import ConfigError

CutWords = Callable[[Sequence[str]], "tuple[str | None, dict[str, Any]] | None"]
"""A command line's words → app and flags; None if they are not all known."""


class PmApp(msgspec.Struct, frozen=True):
    """One app of the file's."""

    name: str
    read: Translated
    profiles: Mapping[str, Mapping[str, object]]
    """Of each `env_NAME`, the environment."""


OWN: Mapping[str, str] = MappingProxyType(
    {
        "cwd": "chdir",
        "error": "log-file",
        "error_file": "log-file",
        "err_file": "log-file",
        "gid": "group",
        "ignore_watch": "reload-exclude",
        "instances": "instances",
        "kill_timeout": "kill-timeout",
        "listen_timeout": "listen-timeout",
        "log": "log-file",
        "log_file": "log-file",
        "max_memory_restart": "max-memory",
        "max_restarts": "max-restarts",
        "name": "name",
        "time": "time",
        "uid": "user",
        "wait_ready": "wait-ready",
    }
)
"""PM2's keys that are ours, perhaps with another name."""

_OUTPUT = "leave it out: standard output goes with the log; capture-output makes it lines of the log"
_BACK_OFF = "leave it out: a worker that dies young waits longer each time, up to 30 s, see min-uptime"
_NODE = "leave it out: it means something to Node.js alone"
INSTEAD: Mapping[str, str] = MappingProxyType(
    {
        "autorestart": "leave it out: workers are always replaced; max-restarts says when one is left alone",
        "combine_logs": "leave it out: one log for all workers",
        "cron_restart": "a timer of systemd's or a line of crontab: prefork reload NAME; max-age replaces by age",
        "disable_logs": 'log-file = "/dev/null"',
        "exec_mode": "leave it out: workers are processes that share the listeners",
        "exp_backoff_restart_delay": _BACK_OFF,
        "filter_env": "start with env -u NAME",
        "force": "leave it out: another name is another service",
        "instance_var": "leave it out: PREFORK_WORKER_ID is the worker's number",
        "increment_var": "leave it out: prefork.worker.slot is a number of each worker's own",
        "interpreter_args": "PYTHON… variables of the environment prefork is started in",
        "log_date_format": "log-time = local, utc or none",
        "log_type": 'log-format = "json"',
        "merge_logs": "leave it out: one log for all workers",
        "namespace": "leave it out: prefork start takes names with *",
        "node_args": _NODE,
        "out": _OUTPUT,
        "out_file": _OUTPUT,
        "output": _OUTPUT,
        "pid_file": "pid = a path of the master's pid",
        "post_update": "do it in the deployment, then prefork reload",
        "restart_delay": _BACK_OFF,
        "shutdown_with_message": "leave it out: workers are told by their master",
        "source_map_support": _NODE,
        "stop_exit_codes": "leave it out: a worker that ends is replaced, whatever its code",
        "treekill": "leave it out: a worker's own children are the app's",
        "vizion": "leave it out: nothing here looks at the repository",
        "watch_delay": "leave it out: it reloads when files have been quiet for a moment",
    }
)
_HARMLESS: Mapping[str, tuple[object, ...]] = MappingProxyType(
    {
        "autorestart": (True,),
        "combine_logs": (True,),
        "exec_mode": ("cluster", "cluster_mode", "fork", "fork_mode"),
        "merge_logs": (True,),
        "treekill": (True,),
        "namespace": ("default",),
        "vizion": (True,),
    }
)
_MOST_SHOWN = 20
_SERVERS = frozenset({"gunicorn", "uvicorn", "prefork"})
_TOKEN = re.compile(
    r"""(?P<space>\s+|//[^\n]*|/\*.*?\*/)
    |(?P<text>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')
    |(?P<number>-?[0-9]+(?:\.[0-9]+)?(?![\w.]))
    |(?P<word>[A-Za-z_$][\w$]*)
    |(?P<sign>[{}\[\]:,])
    |(?P<other>\S+)""",
    re.VERBOSE | re.DOTALL,
)
_EXPORTS = re.compile(r"\s*(?:(?://[^\n]*|/\*.*?\*/)\s*)*module\.exports\s*=", re.DOTALL)


def read_ecosystem(text: str, label: str, cut_words: CutWords) -> list[PmApp]:
    """The apps of a file. Raises `ConfigError`."""
    document = parse_object(text, label)
    apps = document.get("apps", document) if isinstance(document, dict) else document
    apps = apps if isinstance(apps, list) else [apps]
    if not apps or not all(isinstance(app, dict) and "script" in app for app in apps):
        raise ConfigError(f"{label}: no apps in it", 'PM2 reads { "apps": [{ "name": …, "script": … }] }')
    return [_read_app(app, cut_words) for app in apps]


def parse_object(text: str, label: str) -> Any:
    """What the file exports. Raises `ConfigError` with the line of whatever is more than an object."""
    begun = _EXPORTS.match(text)
    start = begun.end() if begun else 0
    body = text.rstrip().removesuffix(";")
    written = "".join(_write_json(list(_cut_tokens(body, start)), label))
    try:
        return msgspec.json.decode(written)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ConfigError(f"{label}: {error}") from None


def _cut_tokens(text: str, start: int) -> Iterator[tuple[str, str, int]]:
    """Each with its kind and its line."""
    line = 1 + text.count("\n", 0, start)
    while start < len(text):
        match = _TOKEN.match(text, start)
        assert match is not None  # noqa: S101  # every character is of some kind
        if match.lastgroup != "space":
            yield str(match.lastgroup), match[0], line
        line += match[0].count("\n")
        start = match.end()


def _write_json(tokens: Sequence[tuple[str, str, int]], label: str) -> Iterator[str]:
    for (kind, word, line), after in zip(tokens, [*(each[1] for each in tokens[1:]), ""], strict=True):
        if kind == "text":
            yield _requote(word)
        elif kind == "word" and after == ":":
            yield f'"{word}"'
        elif kind == "other" or (kind == "word" and word not in {"true", "false", "null"}):
            raise _refuse(label, line, word[:_MOST_SHOWN])
        elif word != "," or after not in {"}", "]"}:
            yield word


def _requote(word: str) -> str:
    if word[0] == '"':
        return word
    return '"' + re.sub(r"\\'|\"", lambda found: "'" if found[0] == "\\'" else '\\"', word[1:-1]) + '"'


def _refuse(label: str, line: int, word: str) -> ConfigError:
    return ConfigError(
        f"{label}, line {line}: {word!r} would have to be run",
        "an ecosystem file is read if it only has values: module.exports = { apps: […] }",
        'node -p "JSON.stringify(require(process.argv[1]))" ./FILE > ecosystem.config.json writes them out',
    )


def _read_app(app: Mapping[str, Any], cut_words: CutWords) -> PmApp:
    keys: dict[str, object] = {}
    left: list[Left] = []
    profiles: dict[str, Mapping[str, object]] = {}
    for name, value in app.items():
        if name in OWN:
            keys.setdefault(OWN[name], value)
        elif name == "env":
            keys["env"] = _read_env(value)
        elif name.startswith("env_"):
            profiles[name.removeprefix("env_")] = _read_env(value)
        elif name == "watch":
            keys["reload"] = bool(value)
            if isinstance(value, str | list):
                keys["reload-dir"] = value
        elif name == "min_uptime":
            keys["min-uptime"] = f"{value}ms" if isinstance(value, int) else value
        elif name not in {"script", "args", "interpreter", "exec_interpreter"} and value:
            if value not in _HARMLESS.get(name, ()):
                left.append(Left(name, INSTEAD.get(name, "it is unknown here")))
        elif name == "autorestart":
            left.append(Left(name, INSTEAD[name]))
    started, more = _read_script(app, cut_words)
    return PmApp(str(app.get("name", "")), Translated({**started, **keys}, (*more, *left)), profiles)


def _read_script(app: Mapping[str, Any], cut_words: CutWords) -> tuple[dict[str, object], list[Left]]:
    """The app and the flags of what PM2 runs: a server's command line, or a file."""
    script, args = str(app["script"]), app.get("args", [])
    words = args.split() if isinstance(args, str) else [str(word) for word in args]
    if " " in script and not words:
        script, *words = script.split()
    told = Left("script", f"app = module:attr; PM2 ran {' '.join([script, *words])!r}")
    if posixpath.basename(script).startswith("python") and words[:1] == ["-m"]:
        script, words = words[1] if len(words) > 1 else "", words[2:]
    if posixpath.basename(script) in _SERVERS:
        words = words[1:] if words[:1] == ["run"] else words
        cut = cut_words(["run", *words])
        return ({"app": cut[0], **cut[1]}, []) if cut is not None and cut[0] else ({}, [told])
    if script.endswith(".py") and not words:
        return {"app": script.removeprefix("./")}, []
    return {}, [told]


def _read_env(value: object) -> dict[str, object]:
    pairs = value if isinstance(value, dict) else {}
    return {
        name: str(item).lower() if isinstance(item, bool) else item
        for name, item in pairs.items()
        if item is not None
    }

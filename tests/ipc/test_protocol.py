"""A reload may start zygotes and workers of another version than the master's: nothing that they say changes without a
new PROTOCOL.
"""

from __future__ import annotations

import inspect
import json

import msgspec

from prefork.config.model import Config
from prefork.ipc import messages as say
from prefork.ipc.codec import encode, read_from_master_as_zygote, read_from_zygote
from prefork.ipc.starting import PROTOCOL
from tests.ipc.dialogues import CONFIG, DIALOGUES

SPOKEN = {
    1: """
admin-lives()
admin-note(event: str, why: str)
ask-standing()
boot(gen: int, config: Config)
boot-failed(message: str, hints: tuple[str, ...], traceback: str)
changed(paths: tuple[str, ...], count: int)
choose(number: int, candidates: tuple[tuple[int, int, int, int, int], ...], addresses: tuple[str, ...])
chosen(number: int, serials: tuple[int | None, ...], why: str)
deliver(sender: int, data: msgspec.Raw)
drain(reason: str, graceful_s: float, last: bool)
drained(lost: int)
draining(reason: str)
fork(serial: int, slot: int, row: int, count: int)
fork-failed(serial: int, error: str)
forked(serial: int, pid: int, has_pidfd: bool)
give(what: Literal['listener', 'scoreboard', 'log', 'access-log', 'tls'], number: int)
give-admin-listener()
hand-over()
import-failed(message: str, hints: tuple[str, ...], traceback: str)
imported(where: str, interface: Interface | None, preloaded: bool, why: str, import_ms: int, version: str)
leave()
load-strategy(strategy: str, name: str, app_dir: str, chdir: str, user: str | None, group: str | None)
post(to: int | None, data: msgspec.Raw)
quit()
ready(boot_ms: int, interface: Interface, where: str)
reaped(serial: int, pid: int, status: int)
reopen-log(what: Literal['log', 'access-log'])
retire(reason: str)
serve-admin(name: str, metrics_dir: str, is_metrics_dir_ours: bool, agents: int, chdir: str, log_format: LogFormat, log_time: LogTime, user: str | None, group: str | None)
stacks()
standing(status: msgspec.Raw)
strategy-loaded()
strategy-refused(message: str, hints: tuple[str, ...], traceback: str)
unlisten(number: int)
watch(name: str, dirs: tuple[str, ...], files: tuple[str, ...], include: tuple[str, ...], exclude: tuple[str, ...], since_ns: int, user: str | None, group: str | None)
watching(by: Literal['watchfiles', 'polling'], why: str, files: int)
""",  # noqa: E501  # a line for each message
}
"""What is said under the present number, and no other.

When this fails, raise PROTOCOL, unless there was no release since it was raised last. A field from the master that
has a default may always be added: an older master's words are understood then.
"""


def describe(message: type[msgspec.Struct]) -> str:
    fields = ", ".join(
        f"{name}: {kind}"
        for name, kind in inspect.get_annotations(message).items()
        if not kind.startswith("ClassVar")
    )
    return f"{message.__struct_config__.tag}({fields})"


def test_what_is_said_changes_only_together_with_the_number() -> None:
    spoken = sorted({describe(type(each)) for dialogue in DIALOGUES for each in dialogue.messages})
    assert {number: lines.split("\n")[1:-1] for number, lines in SPOKEN.items()} == {PROTOCOL: spoken}


def test_an_older_masters_configuration_is_understood() -> None:
    """A new option has a default, so that a master which does not know it can boot a zygote that does."""
    heard = json.loads(encode(say.Boot(2, CONFIG)))
    heard["config"] = {"app": "shop:app"}
    [boot] = read_from_master_as_zygote().feed(json.dumps(heard).encode() + b"\n")
    assert boot == say.Boot(2, Config(app="shop:app"))


def test_a_refusal_is_understood_whatever_else_has_changed() -> None:
    line = b'{"type":"import-failed","message":"prefork 9 speaks another protocol"}\n'
    assert read_from_zygote().feed(line) == [say.ImportFailed("prefork 9 speaks another protocol")]

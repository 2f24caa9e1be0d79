"""TLS as users have it: the real program, the real clients."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.certificates import (
    PASSWORD,
    Files,
    get_expired,
    get_other_server,
    get_server,
    make_client_context,
    write_chain,
    write_files,
)
from tests.integration.conftest import Start
from tests.integration.running import Running, clean_environment, copy_apps, wait_until
from tests.integration.test_boot_errors import refuse
from tests.integration.test_privileges import NOBODY, WAY, needs_nobody, open_folder
from tests.integration.tls_client import GET, TIMEOUT_S, Client, Load

__all__ = ["open_folder"]

both_interfaces = pytest.mark.parametrize("app", ["encrypted:app", "encrypted:wsgi"], ids=["asgi", "wsgi"])
both_loops = pytest.mark.parametrize("loop", ["uvloop", "asyncio"])


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return write_files(tmp_path)


def ask(running: Running, path: str = "/", context: ssl.SSLContext | None = None) -> dict[str, Any]:
    with Client(running.port, context) as client:
        said: dict[str, Any] = json.loads(client.ask(path, last=True))
        assert client.file.read() == b"", "and then a proper end"
    return said


def read_serial(port: int) -> int:
    """Which certificate is in use."""
    with Client(port) as client:
        certificate = client.sock.getpeercert()
        assert certificate is not None
        return int(str(certificate["serialNumber"]), 16)


def find_serial(chain: Path) -> int:
    decode = vars(__import__("_ssl"))["_test_decode_cert"]
    return int(decode(str(chain))["serialNumber"], 16)


@both_loops
@both_interfaces
def test_https_is_spoken(start: Start, files: Files, app: str, loop: str) -> None:
    running = start(app, "--certfile", str(files.chain), "--keyfile", str(files.key), "--loop", loop)
    said = ask(running)
    assert (said["scheme"], said["client"][0], said["name"]) == ("https", "127.0.0.1", None)
    context = make_client_context()
    context.set_alpn_protocols(["h2", "http/1.1"])
    with Client(running.port, context) as client:
        assert client.sock.selected_alpn_protocol() == "http/1.1"
        assert [len(client.ask("/big")) for _ in range(3)] == [3_000_000] * 3
    assert running.stop() == 0


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
@both_loops
def test_stream_handlers_speak_tls_and_hear_the_end(start: Start, files: Files, loop: str) -> None:
    running = start("encrypted:stream", "--certfile", str(files.both), "--loop", loop)
    done = subprocess.run(
        ["openssl", "s_client", "-quiet", "-connect", f"127.0.0.1:{running.port}", "-CAfile", str(files.ca)],
        input=b"hello\n" * 3 + b"quit\n",
        capture_output=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.stdout == b"HELLO\n" * 3 + b"END\n"
    assert running.stop() == 0


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_curl_gets_its_answers_with_and_without_a_certificate(start: Start, files: Files) -> None:
    running = start(
        "encrypted:app",
        *("--certfile", str(files.both), "--ca-certs", str(files.ca), "--ssl-cert-reqs", "1"),
    )

    def curl(*arguments: str) -> dict[str, Any]:
        command = ["curl", "-sS", "--max-time", "8", "--cacert", str(files.ca), *arguments]
        done = subprocess.run(command, capture_output=True, timeout=TIMEOUT_S, check=True)
        said: dict[str, Any] = json.loads(done.stdout)
        return said

    url = f"https://localhost:{running.port}/"
    assert curl(url)["name"] is None
    said = curl(url, "--cert", str(files.client), "--http2")
    assert said["name"].startswith("CN=alice\\, the first,")
    assert curl(url + "unread", "--data-binary", "@" + str(files.client))["size"] == 0
    assert curl(url, "-H", "Expect: 100-continue", "--data-binary", "@/bin/sh")["size"] > 50_000


def test_a_required_certificate_is_required(start: Start, files: Files) -> None:
    running = start(
        "encrypted:app",
        *("--certfile", str(files.both), "--ca-certs", str(files.ca), "--cert-reqs", "required"),
    )
    assert ask(running, context=make_client_context(with_certificate=True))["name"].startswith("CN=alice")
    with pytest.raises(ssl.SSLError):
        ask(running)
    assert running.complaints == []


def test_plain_http_is_answered_in_words(start: Start, files: Files) -> None:
    running = start("encrypted:app", "--certfile", str(files.both))
    response = running.get()
    assert response.status == 400
    assert b"this port speaks HTTPS" in response.body


@both_loops
@both_interfaces
def test_a_body_nobody_reads_costs_nobody_the_answer(start: Start, files: Files, app: str, loop: str) -> None:
    """The client has sent all of it before it reads; a reset would have thrown the answer away."""
    running = start(
        app, "--certfile", str(files.both), "--limit-request-body", "1000", "--loop", loop, "--workers", "2"
    )
    body = bytes(2_000_000)
    for _ in range(10):
        with Client(running.port) as client:
            head = b"POST /unread HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body)
            client.sock.sendall(head)
            client.sock.sendall(body)
            answer = client.file.read()
            assert answer.startswith(b"HTTP/1.1 413 ")
            head, _, text = answer.partition(b"\r\n\r\n")
            assert b"Content-Length: %d" % len(text) in head


@both_loops
@both_interfaces
def test_reloads_take_up_a_new_certificate_and_lose_nothing(
    start: Start, files: Files, app: str, loop: str
) -> None:
    running = start(
        *(app, "--certfile", str(files.chain), "--keyfile", str(files.key)),
        *("--workers", "2", "--settle", "0", "--loop", loop),
    )
    old = find_serial(files.chain)
    assert read_serial(running.port) == old

    with Load(running.port) as load:
        for number, server in enumerate([get_other_server(), get_server(), get_other_server()], 1):
            answered = load.answered
            write_chain(files.chain, server)
            server.private_key_pem.write_to_path(files.key)
            running.signal(signal.SIGHUP)
            running.wait_for_record("reloaded", count=number)
            assert read_serial(running.port) == find_serial(files.chain)
            wait_until(lambda: load.answered > answered + 10, "answers")  # noqa: B023 at once
    assert load.failures == []
    assert load.answered > 100
    assert old != find_serial(files.chain)


def test_a_reload_with_a_broken_certificate_is_refused_and_changes_nothing(
    start: Start, files: Files
) -> None:
    running = start("encrypted:app", "--certfile", str(files.chain), "--keyfile", str(files.key))
    serial, pid = read_serial(running.port), ask(running)["pid"]
    get_other_server().private_key_pem.write_to_path(files.key)
    running.signal(signal.SIGHUP)
    wait_until(lambda: "reload refused" in running.log, "the refusal")
    [line] = [line for line in running.log.splitlines() if "reload refused" in line]
    assert f"keyfile {files.key}: not the key of the certificate in {files.chain}" in line
    assert (read_serial(running.port), ask(running)["pid"]) == (serial, pid)

    get_server().private_key_pem.write_to_path(files.key)
    running.signal(signal.SIGHUP)
    running.wait_for_record("reloaded")
    assert ask(running)["pid"] != pid


def test_a_reload_may_turn_tls_on_and_off(start: Start, files: Files, tmp_path: Path) -> None:
    settings = tmp_path / "prefork.toml"
    settings.write_text('app = "encrypted:app"\nsettle = 0\n')
    running = start()
    assert running.get().status == 200
    settings.write_text(f'app = "encrypted:app"\nsettle = 0\ncertfile = "{files.both}"\n')
    running.signal(signal.SIGHUP)
    running.wait_for_record("reloaded")
    assert ask(running)["scheme"] == "https"
    settings.write_text('app = "encrypted:app"\nsettle = 0\n')
    running.signal(signal.SIGHUP)
    running.wait_for_record("reloaded", count=2)
    assert running.get().status == 200


@pytest.mark.parametrize("preload", ["auto", "always", "never"])
@needs_nobody
def test_a_key_that_only_root_may_read_is_enough(open_folder: Path, start: Start, preload: str) -> None:
    files = write_files(open_folder)
    files.both.chmod(0o600)
    running = start(
        *("encrypted:app", "--certfile", str(files.both), "--user", NOBODY, "--preload", preload),
        *("--workers", "2", "--settle", "0"),
        folder=open_folder,
        prefix=WAY or (),
    )
    assert ask(running)["uid"] != 0
    victim = running.wait_workers(2)[0]
    victim.kill()
    wait_until(lambda: victim.pid not in {worker.pid for worker in running.workers}, "its end")
    running.wait_workers(2)
    assert {ask(running)["uid"] for _ in range(10)} != {0}
    running.signal(signal.SIGHUP)
    running.wait_for_record("reloaded")
    assert ask(running)["uid"] != 0


def test_an_import_that_leaves_threads_keeps_tls(start: Start, files: Files, tmp_path: Path) -> None:
    (tmp_path / "threaded_encrypted.py").write_text(
        "import threading\n"
        "from encrypted import app\n"
        "threading.Thread(target=threading.Event().wait, daemon=True, name='t').start()\n"
    )
    running = start(
        *("threaded_encrypted:app", "--certfile", str(files.chain), "--keyfile", str(files.encrypted)),
        env={"PREFORK_SSL_KEYFILE_PASSWORD": PASSWORD},
    )
    assert running.find_records("app left to workers", preloaded="no")
    said = ask(running)
    assert (said["scheme"], said["password"]) == ("https", None)
    assert PASSWORD not in running.log


def test_a_spare_speaks_tls(start: Start, files: Files) -> None:
    running = start("encrypted:app", "--certfile", str(files.both))
    spare = running.wait_spare()
    running.wait_workers(1)[0].kill()
    wait_until(lambda: [w.pid for w in running.ready_workers] == [spare.pid], "the spare at work")
    assert ask(running)["pid"] == spare.pid


def test_sessions_are_resumed_with_any_worker(start: Start, files: Files) -> None:
    running = start("encrypted:app", "--certfile", str(files.both), "--workers", "3")
    context = make_client_context()
    pids, session, resumed = Counter[int](), None, 0
    for _ in range(200):
        with Client(running.port, context, session=session) as client:
            pids[json.loads(client.ask(last=True))["pid"]] += 1
            resumed += bool(client.sock.session_reused)
            session = client.sock.session
        if len(pids) == 3:
            break
    assert len(pids) > 1
    assert resumed == sum(pids.values()) - 1


@both_loops
def test_the_silent_neither_hinder_others_nor_hold_up_a_stop(start: Start, files: Files, loop: str) -> None:
    running = start(
        *("encrypted:app", "--certfile", str(files.both), "--loop", loop, "--keep-alive", "1"),
        *("--ssl-handshake-timeout", "60"),
    )
    silent = [socket.create_connection(("127.0.0.1", running.port), TIMEOUT_S) for _ in range(400)]
    for sock in silent[:200]:
        sock.sendall(b"\x16\x03\x01\x02\x00\x01")  # a handshake that stops in its first record
    began = time.monotonic()
    assert ask(running)["scheme"] == "https"
    assert time.monotonic() - began < 2.0
    running.signal(signal.SIGTERM)
    running.wait_until_draining(1)
    # Silent until the stop, and heard all the same.
    secure = make_client_context().wrap_socket(silent.pop(), server_hostname="localhost")
    with secure:
        secure.sendall(GET % (b"/", b"keep-alive"))
        assert secure.recv(65536).startswith(b"HTTP/1.1 200 ")
    assert running.wait_exit(8.0) == 0
    for sock in silent:
        sock.close()


def test_stalled_handshakes_end(start: Start, files: Files) -> None:
    running = start("encrypted:app", "--certfile", str(files.both), "--ssl-handshake-timeout", "200ms")
    stalled = [socket.create_connection(("127.0.0.1", running.port), TIMEOUT_S) for _ in range(20)]
    for sock in stalled[:10]:
        sock.sendall(b"\x16\x03\x01\x02\x00\x01")
    assert [sock.recv(1) for sock in stalled] == [b""] * 20
    for sock in stalled:
        sock.close()


REFUSED: list[tuple[Callable[[Files], list[object]], int, str]] = [
    (lambda files: ["--certfile", files.folder / "none.pem"], 78, "none.pem: no such file"),
    (lambda files: ["--certfile", files.chain], 78, "chain.pem: no private key in it"),
    (lambda files: ["--certfile", files.chain, "--keyfile", files.client], 78, "not the key of"),
    (lambda files: ["--certfile", files.chain, "--keyfile", files.encrypted], 78, "is encrypted"),
    (lambda files: ["--keyfile", files.key], 78, "keyfile without certfile"),
]


@pytest.mark.parametrize("command", ["run", "check"])
@pytest.mark.parametrize(("arguments", "code", "words"), REFUSED, ids=[words for *_, words in REFUSED])
def test_what_cannot_be_used_is_refused_at_the_start(
    files: Files,
    arguments: Callable[[Files], list[object]],
    code: int,
    words: str,
    command: str,
) -> None:
    given = [*map(str, arguments(files)), "--bind", "127.0.0.1:0"]
    if command == "check":
        copy_apps(files.folder)
        done = subprocess.run(
            [sys.executable, "-m", "prefork", "check", "encrypted:app", *given],
            env=clean_environment(),
            cwd=files.folder,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        ended, said = done.returncode, done.stderr
    else:
        ended, said = refuse(files.folder, "encrypted:app", *given)
    assert (ended, len(said.splitlines()) <= 4, "Traceback" in said) == (code, True, False)
    assert words in said


def test_an_expired_certificate_is_told_and_served(start: Start, files: Files) -> None:
    write_chain(files.chain, get_expired())
    get_expired().private_key_pem.write_to_path(files.key)
    running = start("encrypted:app", "--certfile", str(files.chain), "--keyfile", str(files.key))
    warned = [record.line for record in running.complaints]
    assert len(warned) == 1
    assert "certificate expired on Jan  1 00:00:00 2001 GMT" in warned[0]
    with pytest.raises(ssl.SSLCertVerificationError):
        ask(running)

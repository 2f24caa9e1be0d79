"""nginx and HAProxy take the configurations as they are."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.integration.proxies import CONF, HAPROXY, NGINX


@pytest.mark.skipif(HAPROXY is None, reason="haproxy is not installed")
def test_haproxy_takes_its_configuration_without_a_warning() -> None:
    found = check(str(HAPROXY), "-c", "-f", str(CONF / "haproxy/shop.cfg"))
    assert found.returncode == 0, found.stderr
    assert "WARNING" not in found.stderr


@pytest.mark.skipif(NGINX is None, reason="nginx is not installed")
def test_nginx_takes_its_configuration(tmp_path: Path) -> None:
    around = tmp_path / "nginx.conf"
    around.write_text(
        f"pid {tmp_path}/pid; error_log {tmp_path}/log; events {{}}\n"
        f"http {{ access_log off; include {CONF}/nginx/*.conf; }}\n"
    )
    found = check(str(NGINX), "-t", "-q", "-c", str(around), "-p", str(tmp_path))
    assert (found.returncode, [line for line in found.stderr.splitlines() if "emerg" in line]) == (0, [])


def check(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=30)

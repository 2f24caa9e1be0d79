"""The image's recipe and the cluster's manifest are valid, and their times fit together."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from prefork.config.documents import read_document
from prefork.config.sources import read_table
from prefork.config.values import parse_duration

CONF = Path(__file__).parents[2] / "conf"
MANIFEST = CONF / "kubernetes/shop.yaml"
HADOLINT = shutil.which("hadolint") or shutil.which("hadolint", path=str(Path(sys.executable).parent))
KILL_AND_REAP_S = 5

needs_validator = pytest.mark.skipif(
    importlib.util.find_spec("kubernetes_validate") is None, reason="kubernetes-validate is not installed"
)


@pytest.mark.skipif(HADOLINT is None, reason="hadolint is not installed (it has wheels for x86-64 only)")
def test_hadolint_has_no_complaint() -> None:
    found = subprocess.run(
        [str(HADOLINT), "--no-color", CONF / "docker/Dockerfile"],
        check=False,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert (found.returncode, found.stdout) == (0, "")


def test_the_image_runs_prefork_itself_as_nobody_in_particular() -> None:
    lines = (CONF / "docker/Dockerfile").read_text().splitlines()
    last_stage = lines[max(number for number, line in enumerate(lines) if line.startswith("FROM ")) :]
    assert 'ENTRYPOINT ["prefork"]' in last_stage
    (user,) = (line.split()[1] for line in last_stage if line.startswith("USER "))
    assert all(part.isdecimal() and int(part) > 0 for part in user.split(":"))  # runAsNonRoot needs a number
    assert any(line.startswith("HEALTHCHECK ") for line in last_stage)


@needs_validator
def test_kubernetes_knows_every_word_of_the_manifest() -> None:
    found = subprocess.run(
        [sys.executable, "-m", "kubernetes_validate", "--strict", "--no-warn", str(MANIFEST)],
        check=False,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert found.returncode == 0, found.stdout + found.stderr


@needs_validator
def test_a_pod_has_the_time_to_leave_that_its_configuration_takes() -> None:
    manifest = read_manifest()
    config = read_document(manifest["ConfigMap"]["data"]["prefork.toml"].encode(), "prefork.toml")
    pod = manifest["Deployment"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    delay_s, graceful_s = (parse_duration(config[key]) for key in ("shutdown-delay", "graceful-timeout"))

    assert pod["terminationGracePeriodSeconds"] >= delay_s + graceful_s + KILL_AND_REAP_S
    readiness = container["readinessProbe"]
    notices_within_s = (
        readiness["periodSeconds"] * readiness["failureThreshold"] + readiness["timeoutSeconds"]
    )
    assert notices_within_s <= delay_s
    startup = container["startupProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] >= 60  # boot-timeout's default


@needs_validator
def test_prefork_knows_every_word_of_both_configurations() -> None:
    for text in (
        read_manifest()["ConfigMap"]["data"]["prefork.toml"],
        (CONF / "docker/prefork.toml").read_text(),
    ):
        layer = read_table(read_document(text.encode(), "prefork.toml"), "prefork.toml")
        assert {"bind", "admin", "shutdown-delay", "forwarded-allow-ips"} <= layer.given.keys()


@needs_validator
def test_ports_and_selectors_of_the_manifest_meet() -> None:
    manifest = read_manifest()
    config = read_document(manifest["ConfigMap"]["data"]["prefork.toml"].encode(), "prefork.toml")
    template = manifest["Deployment"]["spec"]["template"]
    (container,) = template["spec"]["containers"]
    ports = {port["name"]: f":{port['containerPort']}" for port in container["ports"]}
    assert ports == {"http": config["bind"][0], "admin": config["admin"][0]}
    probes = [container[f"{kind}Probe"]["httpGet"] for kind in ("startup", "readiness", "liveness")]
    assert [(probe["path"], probe["port"]) for probe in probes] == [
        ("/readyz", "admin"),
        ("/readyz", "admin"),
        ("/livez", "admin"),
    ]
    labels = template["metadata"]["labels"]
    selectors = [
        manifest["Service"]["spec"]["selector"],
        manifest["Deployment"]["spec"]["selector"]["matchLabels"],
        manifest["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
    ]
    assert all(selector.items() <= labels.items() for selector in selectors)


def read_manifest() -> dict[str, Any]:
    """Its documents, by kind."""
    import yaml  # noqa: PLC0415  # comes with kubernetes-validate

    return {document["kind"]: document for document in yaml.safe_load_all(MANIFEST.read_text())}

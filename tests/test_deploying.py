"""The files of the guides on deploying fit together, and with the defaults of the package.

nginx and HAProxy run with theirs in `frontends`.
"""

from __future__ import annotations

import json
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from anyws import ConnectionOptions

ROOT = Path(__file__).parent.parent
FILES = ROOT / "docs" / "howto" / "deploying"
SERVER = ROOT / "examples" / "deployed_server.py"

PING_INTERVAL = ConnectionOptions().ping_interval or 0.0


@pytest.fixture(scope="module")
def manifest() -> dict[str, Any]:
    """Return the objects of the manifest by their kinds."""
    text = (FILES / "kubernetes.yaml").read_text(encoding="utf-8")
    return {each["kind"]: each for each in yaml.safe_load_all(text)}


@pytest.fixture(scope="module")
def container(manifest: dict[str, Any]) -> Any:
    return manifest["Deployment"]["spec"]["template"]["spec"]["containers"][0]


def test_pod_has_time_to_drain(manifest: dict[str, Any], container: Any) -> None:
    environment = {each["name"]: each["value"] for each in container["env"]}
    [shutdown] = re.findall(r"shutdown_timeout=(\d+)", SERVER.read_text(encoding="utf-8"))
    needed = (
        container["lifecycle"]["preStop"]["sleep"]["seconds"]
        + float(environment["DRAIN_SECONDS"])
        + float(shutdown)
    )
    pod = manifest["Deployment"]["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] > needed


def test_manifest_sets_only_what_the_program_reads(
    container: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for each in container["env"]:
        monkeypatch.setenv(each["name"], each["value"])
    program = runpy.run_path(str(SERVER))
    for each in container["env"]:
        assert program[each["name"]] == float(each["value"])
    assert program["PORT"] == container["ports"][0]["containerPort"]


def test_probes_ask_what_the_program_answers(container: Any) -> None:
    asked = container["readinessProbe"]["httpGet"]
    assert f'health="{asked["path"]}"' in SERVER.read_text(encoding="utf-8")
    # One that drains has to live.
    assert list(container["livenessProbe"]).count("httpGet") == 0


def test_names_in_the_manifest_lead_to_each_other(manifest: dict[str, Any], container: Any) -> None:
    template = manifest["Deployment"]["spec"]["template"]["metadata"]["labels"]
    for selector in (
        manifest["Deployment"]["spec"]["selector"]["matchLabels"],
        manifest["Service"]["spec"]["selector"],
        manifest["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
    ):
        assert selector == template
    port = container["ports"][0]["name"]
    [service] = manifest["Service"]["spec"]["ports"]
    assert service["targetPort"] == port
    for probe in ("readinessProbe", "livenessProbe"):
        [where] = [value for value in container[probe].values() if isinstance(value, dict)]
        assert where["port"] == port
    backend = manifest["Ingress"]["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]
    assert (backend["name"], backend["port"]["name"]) == (
        manifest["Service"]["metadata"]["name"],
        service["name"],
    )


def test_idle_timeouts_leave_room_for_two_pings_that_are_lost(manifest: dict[str, Any]) -> None:
    annotations = manifest["Ingress"]["metadata"]["annotations"]
    found = [float(value) for name, value in annotations.items() if name.endswith("-timeout")]
    nginx = (FILES / "nginx.conf").read_text(encoding="utf-8")
    found += map(float, re.findall(r"proxy_(?:read|send)_timeout (\d+)s", nginx))
    haproxy = (FILES / "haproxy.cfg").read_text(encoding="utf-8")
    found += map(float, re.findall(r"timeout tunnel (\d+)s", haproxy))
    assert len(found) == 5
    assert min(found) >= 3 * PING_INTERVAL


def test_image_starts_python_without_a_shell() -> None:
    lines = (FILES / "Dockerfile").read_text(encoding="utf-8").splitlines()
    [command] = [line.removeprefix("CMD ") for line in lines if line.startswith("CMD ")]
    assert json.loads(command)[0] == "python"
    [user] = [line.removeprefix("USER ") for line in lines if line.startswith("USER ")]
    assert user.partition(":")[0] != "0"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_units_are_what_systemd_knows(tmp_path: Path) -> None:
    units = [tmp_path / "anyws.service", tmp_path / "anyws.socket"]
    for unit in units:
        text = (FILES / unit.name).read_text(encoding="utf-8")
        # It looks whether the program is there.
        unit.write_text(text.replace("/srv/anyws/bin/python", sys.executable), encoding="utf-8")
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", *map(str, units)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")

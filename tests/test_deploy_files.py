"""What lies in deploy/ agrees with the program, as far as that can be seen without a Docker engine or a cluster."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from penstock.flows.cli import build_parser
from penstock.flows.config.layout import layout
from penstock.flows.config.settings import load
from penstock.flows.config.snapshots import SnapshotSettings
from tests import prefect_help

ROOT = Path(__file__).parent.parent
DEPLOY = ROOT / "deploy"
OVERLAYS = ("disk", "buckets", "server")
COMPONENTS = ("gpu", "podmonitor")
SETTINGS = sorted(DEPLOY.rglob("penstock.toml"))
BIN = Path(sys.executable).parent
Parsed = dict[str, Any]


@cache
def manifests(folder: Path) -> list[Parsed]:
    """What a cluster would be given: built where kubectl is installed, else the files as they are."""
    if shutil.which("kubectl"):
        done = subprocess.run(["kubectl", "kustomize", folder], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return list(yaml.safe_load_all(done.stdout))
    files = [file for file in folder.glob("*.yaml") if file.name != "kustomization.yaml"]
    return [each for file in files for each in yaml.safe_load_all(file.read_text())]


def pods() -> Iterator[tuple[str, Parsed]]:
    """(overlay, a Deployment's pod)."""
    for overlay in (*OVERLAYS, "base"):
        for made in manifests(DEPLOY / "kubernetes" / overlay):
            if made["kind"] == "Deployment":
                yield overlay, made["spec"]["template"]


def compose() -> Parsed:
    found: Parsed = yaml.safe_load((DEPLOY / "docker/compose.yaml").read_text())
    return found


def commands() -> Iterator[list[str]]:
    """All that a container is told to run."""
    for _, pod in pods():
        spec = pod["spec"]
        yield from (each["command"] for each in [*spec.get("initContainers", []), *spec["containers"]])
    yield from (each["command"] for each in compose()["services"].values() if "command" in each)
    dockerfile = (DEPLOY / "Dockerfile").read_text()
    yield json.loads(re.findall(r"^CMD (.*)$", dockerfile, re.MULTILINE)[-1])


@cache
def prefect_settings() -> set[str]:
    done = subprocess.run(
        [BIN / "prefect", "config", "view", "--show-defaults"], capture_output=True, text=True, check=True
    )
    return set(re.findall(r"^(PREFECT_[A-Z0-9_]+)=", done.stdout, re.MULTILINE))


def test_every_command_exists_with_its_options() -> None:
    """penstock's are parsed by its own parser; prefect's are looked up in its help."""
    seen: set[str] = set()
    asked: dict[tuple[str, ...], set[str]] = {}
    for command in commands():
        program, *words = command
        seen.add(program)
        if program == "penstock":
            assert build_parser().parse_args(words).command
        else:
            within = ["worker", "start"] if program == "penstock-worker" else words[:2]
            assert program in ("prefect", "penstock-worker") and within in (["worker", "start"], ["server", "start"])
            asked.setdefault((within[0], within[1]), set()).update(word for word in words if word.startswith("--"))
    assert seen == {"penstock", "penstock-worker", "prefect"}
    there = prefect_help.options(asked)
    assert {command for command, words in asked.items() if not words <= there[command]} == set()


@pytest.mark.parametrize("file", SETTINGS, ids=lambda file: str(file.parent.relative_to(DEPLOY)))
def test_every_configuration_loads(file: Path, tmp_path: Path) -> None:
    """By our own loader, and says where everything is; it lies where the containers mount it."""
    settings = load(file)
    home = tmp_path / "home"
    home.mkdir()
    found = layout(settings, home, {"PENSTOCK_CATALOG_PASSWORD": "x"})
    assert 2 * found.write_quorum > len(found.replicas)
    assert load(file).home is not None
    if file.parent.name == "buckets":
        assert found.remote and settings.spool.store and settings.snapshots.places


def test_every_folder_of_a_configuration_is_mounted() -> None:
    """A replica on a path that is no volume would be lost with its container."""
    mounts = {each["mountPath"] for _, pod in pods() for each in pod["spec"]["containers"][0]["volumeMounts"]}
    mounts_of_compose = {volume.split(":")[1] if not volume.startswith("$") else volume.split("}:")[1].split(":")[0]
                         for volume in compose()["x-volumes"]}  # fmt: skip
    for file, there in ((DEPLOY / "kubernetes/disk", mounts), (DEPLOY / "docker", mounts_of_compose)):
        table = tomllib.loads((file / "penstock.toml").read_text())
        places = [table["home"], *table["index"]["replicas"].values(), table["sources"]["documents"]["path"]]
        places += [place for place in [table["snapshots"]["store"]] if isinstance(place, str)]
        for place in places:
            assert any(Path(place).is_relative_to(mount) for mount in there), place


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl builds the overlays")
@pytest.mark.parametrize("base", ["disk", "buckets"])
def test_components_fit_the_overlays(base: str, tmp_path: Path) -> None:
    """A GPU and the monitor, on either: the worker gets the device and nobody else does."""
    shutil.copytree(DEPLOY / "kubernetes", tmp_path / "kubernetes")
    (tmp_path / "own").mkdir()
    (tmp_path / "own/kustomization.yaml").write_text(
        f"apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: [../kubernetes/{base}]\n"
        f"components: [{', '.join(f'../kubernetes/{each}' for each in COMPONENTS)}]\n"
    )
    made = manifests(tmp_path / "own")
    (deployment,) = [each for each in made if each["kind"] == "Deployment"]
    (monitor,) = [each for each in made if each["kind"] == "PodMonitor"]
    worker, watch = deployment["spec"]["template"]["spec"]["containers"]
    assert worker["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert "nvidia.com/gpu" not in watch["resources"]["limits"]
    assert worker["image"] == watch["image"] == "penstock:0.1.0-cuda"
    assert (
        monitor["spec"]["selector"]["matchLabels"].items()
        <= deployment["spec"]["template"]["metadata"]["labels"].items()
    )
    assert monitor["spec"]["podMetricsEndpoints"][0]["port"] in [port["name"] for port in watch["ports"]]


def test_ports_and_names_agree() -> None:
    """Who listens where, who asks there, and who may; volumes that are mounted are there."""
    listening: dict[str, set[int]] = {}
    for _, pod in pods():
        volumes = {each["name"] for each in pod["spec"]["volumes"]}
        for container in pod["spec"]["containers"]:
            named = {port["name"]: port["containerPort"] for port in container["ports"]}
            listening[container["name"]] = set(named.values())
            for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                assert probe not in container or container[probe]["httpGet"]["port"] in named
            assert {mount["name"] for mount in container["volumeMounts"]} <= volumes
            text = " ".join(container["command"])
            assert all(str(port) in text for port in named.values()) or container["name"] == "worker"
    assert listening == {"worker": {8080}, "watch": {9464}, "server": {4200}}
    env = dict(re.findall(r"(PREFECT_[A-Z_]+)=(\S+)", (DEPLOY / "Dockerfile").read_text()))
    assert env["PREFECT_WORKER_WEBSERVER_PORT"] == "8080" and "127.0.0.1:8080" in (DEPLOY / "Dockerfile").read_text()
    for file in DEPLOY.rglob("*.yaml"):
        assert {"prefect-server:4200", "server:4200"} >= set(re.findall(r"//([a-z-]+:\d+)/api", file.read_text())) - {
            "localhost:4200"
        }, file
    annotations = next(pod["metadata"]["annotations"] for overlay, pod in pods() if overlay == "base")
    assert annotations["prometheus.io/port"] == "9464"


def test_every_setting_of_prefect_exists() -> None:
    """A misspelt variable would be passed over without a word."""
    asked = set()
    for file in [DEPLOY / "Dockerfile", *DEPLOY.rglob("*.yaml")]:
        named = re.findall(r"\bPREFECT_[A-Z0-9_]+(?==|: | *$|,|\n)", file.read_text(), re.MULTILINE)
        asked |= {name for name in named if not name.startswith(("PREFECT_AUTH", "PREFECT_DATABASE_PASSWORD"))}
    assert len(asked) > 8
    assert asked - {"PREFECT_HOME"} <= prefect_settings()


def test_what_is_copied_into_the_image_is_there_and_is_not_ignored() -> None:
    """Nor is anything of the packages left out, and nothing but what is named gets in."""
    dockerfile = (DEPLOY / "Dockerfile").read_text()
    copied = [
        word
        for line in re.findall(r"^COPY ((?!--from).*)$", dockerfile, re.MULTILINE)
        for word in line.split()[:-1]
        if not word.startswith("--")
    ]
    allowed = {
        line.removeprefix("!").rstrip("/")
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    }
    assert (ROOT / ".dockerignore").read_text().splitlines()[1] == "*"
    assert set(copied) == allowed and all((ROOT / place).exists() for place in copied)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    needed = {*project["tool"]["setuptools"]["package-dir"].values(), project["project"]["readme"]}
    assert needed | set(project["project"]["license-files"]) <= allowed
    for extra in re.findall(r"'\.\[([a-z,]+)\]'", dockerfile):
        assert set(extra.split(",")) <= set(project["project"]["optional-dependencies"])
    for loaded in re.findall(r'python -c "import ([^"]+)"', dockerfile):
        subprocess.run([sys.executable, "-c", f"import {loaded.split(';')[0].split(',')[0]}"], check=True)


def test_the_image_and_the_pods_give_no_more_than_is_needed() -> None:
    """Not root, nothing may be written but volumes, no token of the cluster, a pinned base, no secret in a file."""
    dockerfile = (DEPLOY / "Dockerfile").read_text()
    assert re.findall(r"^USER (.*)$", dockerfile, re.MULTILINE) == ["10001:10001"]
    assert re.search(r"^ARG PYTHON=3\.11\.\d+-slim-\w+$", dockerfile, re.MULTILINE)
    for _, pod in pods():
        assert pod["spec"]["securityContext"]["runAsNonRoot"] and pod["spec"]["automountServiceAccountToken"] is False
        for each in [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]:
            rights = each["securityContext"]
            assert rights["readOnlyRootFilesystem"] and rights["capabilities"] == {"drop": ["ALL"]}
            assert rights["allowPrivilegeEscalation"] is False and each["resources"]["limits"]["memory"]
            assert ":" in each["image"] or not shutil.which("kubectl")
    for name, service in compose()["services"].items():
        assert re.search(r":\d", service["image"]), name
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
    for file in DEPLOY.rglob("*"):
        if file.is_file():
            assert not re.search(
                r"(PASSWORD|AUTH|SECRET|TOKEN)\w*[:=] ?['\"]?(?!\$|admin:(…|PASSWORD)|…)\w*\d", file.read_text()
            ), file


def test_a_pod_has_longer_to_stop_than_a_run_takes() -> None:
    """A run waits for its last commit to be shipped; that wait and the commit must fit into the grace period."""
    most = SnapshotSettings().wait_seconds + 60
    assert all(pod["spec"]["terminationGracePeriodSeconds"] >= most for overlay, pod in pods() if overlay != "server")
    assert int(compose()["services"]["worker"]["stop_grace_period"].removesuffix("m")) * 60 >= most


def test_every_page_says_that_it_was_not_tried() -> None:
    """Until somebody has."""
    for file in [
        DEPLOY / "Dockerfile",
        DEPLOY / "README.md",
        *DEPLOY.rglob("compose.yaml"),
        *DEPLOY.rglob("kustomization.yaml"),
    ]:
        assert re.search(r"untested", file.read_text(), re.IGNORECASE), file


def test_the_template_for_pods_of_flow_runs_has_what_it_names() -> None:
    """Each placeholder is a variable, each variable is used, and Prefect takes the template."""
    template = json.loads((DEPLOY / "kubernetes/jobs/template.json").read_text())
    named = set(re.findall(r"\{\{ (\w+) \}\}", json.dumps(template["job_configuration"])))
    assert named == set(template["variables"]["properties"])
    pod = template["job_configuration"]["job_manifest"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
    own = next(pod for overlay, pod in pods() if overlay == "base")["spec"]
    assert pod["securityContext"].items() <= own["securityContext"].items()
    assert container["securityContext"] == own["containers"][0]["securityContext"]
    assert template["variables"]["properties"]["image"]["default"] == "penstock:0.1.0"
    from prefect.client.schemas.actions import WorkPoolCreate

    assert WorkPoolCreate(name="penstock", type="kubernetes", base_job_template=template).base_job_template


PREFECT = """#!{python}
import pathlib, signal, subprocess, sys, time
here = pathlib.Path({folder!r})
run = '''
import os, pathlib, signal, time
here = pathlib.Path({folder!r})
def asked(*_):
    (here / "asked").touch()
    while not (here / "go").exists():
        time.sleep(0.01)
    (here / "committed").touch()
    os._exit(0)
signal.signal(signal.SIGTERM, asked)
(here / "running").touch()
time.sleep(60)
'''
(here / "words").write_text(" ".join(sys.argv[1:]))
child = subprocess.Popen([sys.executable, "-c", run], start_new_session=True)
def told(*_):
    (here / "told").write_text(str((here / "committed").exists()))
    sys.exit(0)
signal.signal(signal.SIGTERM, told)
ticks = 0
while True:
    ticks += 1
    (here / "ticks").write_text(str(ticks))
    time.sleep(0.01)
"""


def test_a_worker_that_is_told_to_stop_lets_its_flow_runs_finish(tmp_path: Path) -> None:
    """Meanwhile it takes nothing new; only then is the worker itself told. A stand-in for prefect says what it saw."""
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin/prefect"
    program.write_text(PREFECT.format(python=sys.executable, folder=str(tmp_path)))
    program.chmod(0o755)
    environ = os.environ | {"PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}"}
    with subprocess.Popen([DEPLOY / "worker", "--pool", "p"], env=environ, start_new_session=True) as worker:
        try:
            _until(tmp_path / "running")
            worker.send_signal(signal.SIGTERM)
            _until(tmp_path / "asked")
            assert (tmp_path / "words").read_text() == "worker start --pool p"
            before = (tmp_path / "ticks").read_text()
            time.sleep(0.3)  # not for synchronisation: a worker that is stopped does nothing in it
            assert (tmp_path / "ticks").read_text() == before and not (tmp_path / "told").exists()
            (tmp_path / "go").touch()
            assert worker.wait(timeout=90) == 0
            assert (tmp_path / "told").read_text() == "True"
        finally:
            _kill(worker.pid)


def test_a_flow_run_that_is_a_container_is_asked_itself(tmp_path: Path) -> None:
    """Prefect's process, which would kill it, is not told; it ends when the flow has."""
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin/prefect"
    ending = PREFECT.replace("while True:", "while child.poll() is None:")
    program.write_text(ending.format(python=sys.executable, folder=str(tmp_path)))
    program.chmod(0o755)
    with subprocess.Popen([DEPLOY / "flow-run", program, "flow-run", "execute"], start_new_session=True) as first:
        try:
            _until(tmp_path / "running")
            first.send_signal(signal.SIGTERM)
            _until(tmp_path / "asked")
            (tmp_path / "go").touch()
            assert first.wait(timeout=90) == 0
            assert (tmp_path / "committed").exists() and not (tmp_path / "told").exists()
            assert (tmp_path / "words").read_text() == "flow-run execute"
        finally:
            _kill(first.pid)


def test_job_variables_on_the_page_are_those_of_the_pools() -> None:
    """As Prefect's own templates have them, or ours."""
    from prefect.server.api import collections_data

    known = json.loads((Path(collections_data.__path__[0]) / "views/aggregate-worker-metadata.json").read_text())
    variables = {
        kind: set(worker["default_base_job_configuration"]["variables"]["properties"])
        for workers in known.values()
        for kind, worker in workers.items()
    }
    ours = json.loads((DEPLOY / "kubernetes/jobs/template.json").read_text())["variables"]["properties"]
    text = (DEPLOY / "README.md").read_text()
    for kind, there in (("process", variables["process"]), ("docker", variables["docker"]), ("kubernetes", set(ours))):
        (row,) = re.findall(rf"^\| `{kind}` \|.*\|(.*)\|$", text, re.MULTILINE)
        assert set(re.findall(r"`(\w+)`", row)) <= there
    (block,) = [yaml.safe_load(each) for each in re.findall(r"```yaml\n(job_variables.*?)```", text, re.DOTALL)]
    assert set(block["job_variables"]) <= variables["docker"]


def _until(file: Path) -> None:
    deadline = time.monotonic() + 90
    while not file.exists():
        assert time.monotonic() < deadline, file
        time.sleep(0.02)


def _kill(group: int) -> None:
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        pass

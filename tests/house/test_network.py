"""Nothing reaches for the network unasked: counted by system call, since native code passes by Python's hooks."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from network_calls import HAS_STRACE, left_in, network_calls
from PIL import Image

from mnv2search.latency.remote.device import runner_package
from mnv2search.latency.runner import OFF

needs_strace = pytest.mark.skipif(not HAS_STRACE, reason="strace is not installed (apt-get install strace)")
MNV2SEARCH = [sys.executable, "-m", "mnv2search"]
ANSWER = f"command:{sys.executable} -S -c 'print(0.5)' {{spec}}"
SPEC = "mnv2search: 1\nname: tiny\nresolution: 32\nhead: {classes: 10}\nblocks:\n  - {t: 2, c: [8, 16], n: 1, s: 2}\n"
PACKAGES = {
    "onnxruntime": "onnxruntime",
    "torch": "torch",
    "litert": "ai_edge_litert",
    "executorch": "executorch",
    "openvino": "openvino",
    "ncnn": "ncnn",
}
installed = pytest.mark.parametrize(
    "device", [name for name, package in PACKAGES.items() if importlib.util.find_spec(package) is not None]
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    (tmp_path / "space.yaml").write_text(SPEC)
    (tmp_path / "tiny.yaml").write_text(SPEC.replace("[8, 16]", "8"))
    rng = np.random.default_rng(0)
    for index in range(24):
        path = tmp_path / "photos" / f"class{index % 2}" / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(path)
    return tmp_path


def check_silent(*words: str, home: Path) -> None:
    code, calls = network_calls([*MNV2SEARCH, *words], home=home)
    assert (code, calls, left_in(home)) == (0, [], [])


@needs_strace
def test_a_socket_and_a_look_up_are_counted(tmp_path: Path) -> None:
    program = "import socket; socket.socket(socket.AF_INET).close(); socket.getaddrinfo('localhost', 80)"
    code, calls = network_calls([sys.executable, "-c", program], home=tmp_path / "home")
    text = "\n".join(calls)
    assert (code, "socket(AF_INET," in text, "/etc/hosts" in text) == (0, True, True)


@needs_strace
@installed
def test_measuring_reaches_for_nothing(folder: Path, device: str) -> None:
    check_silent("latency", "tiny.yaml", "--device", device, "--time", "1s", home=folder / "home")


@needs_strace
def test_a_list_of_devices_reaches_for_nothing(folder: Path) -> None:
    check_silent("devices", home=folder / "home")


@needs_strace
def test_a_list_of_weights_reaches_for_nothing(folder: Path) -> None:
    check_silent("weights", "list", "--folder", "photos", home=folder / "home")


@needs_strace
def test_a_search_and_its_verification_reach_for_nothing(folder: Path) -> None:
    search = ["run", "--space", "space.yaml", "--latency-ms", "1000", "--trials", "2", "--time", "4s", "--no-confirm"]
    check_silent(*search, "--name", "it", "--accuracy", ANSWER, home=folder / "home")
    check_silent("verify", "it", "--time", "1s", home=folder / "home")


@needs_strace
def test_writing_every_format_reaches_for_nothing(folder: Path) -> None:
    formats = [word for end in ("onnx", "tflite", "pte", "pt2", "py", "pt") for word in ("-o", f"it.{end}")]
    check_silent("compile", "tiny.yaml", *formats, home=folder / "home")


@needs_strace
def test_training_reaches_for_nothing(folder: Path) -> None:
    (folder / "quick.yaml").write_text("lr: 0.05\nlr_batch: 8\nbatch: 8\nepochs: 1\n")
    train = ["train", "tiny.yaml", "--data", "photos", "--recipe", "quick.yaml"]
    check_silent(*train, "-o", "trained", home=folder / "home")


@needs_strace
def test_a_local_table_reaches_for_nothing(folder: Path) -> None:
    datasets = pytest.importorskip("datasets")
    columns = {"image": [str(path) for path in sorted(folder.rglob("*.png"))], "label": [0, 1] * 12}
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])})
    datasets.Dataset.from_dict(columns, features=features).to_parquet(folder / "it.parquet")
    check_silent("data", "it.parquet", home=folder / "home")


def test_the_runner_on_another_machine_switches_reports_off_before_an_engine_is_imported(tmp_path: Path) -> None:
    package = runner_package("mnv2search.latency.runner.engines.onnxruntime")
    (tmp_path / package.name).write_bytes(package.content)
    engine = tmp_path / "engine.py"
    engine.write_text(f"import os\nprint([os.environ[name] for name in {list(OFF)}])\n")
    program = "import sys; sys.path.insert(0, sys.argv[1]); from mnv2search.latency.runner import engine"
    done = subprocess.run(
        [sys.executable, "-c", f"{program}; import engine", package.name],
        cwd=tmp_path,
        env={name: value for name, value in os.environ.items() if name not in {*OFF, "PYTHONPATH"}},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"{list(OFF.values())}\n"


def test_a_choice_of_the_user_is_left_alone() -> None:
    program = "import mnv2search, os; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    environment = {**os.environ, "ORT_DISABLE_TELEMETRY": "0"}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == "0\n"

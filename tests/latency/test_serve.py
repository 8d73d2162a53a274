"""The runner on another machine, talked to as it is there: through the zip file."""

from __future__ import annotations

import ast
import io
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import mnv2search.latency.runner as runner
from mnv2search.errors import DeviceError
from mnv2search.latency.remote.device import runner_package
from mnv2search.latency.runner.serve import Question, Server, prune
from mnv2search.latency.runtimes.onnxruntime import OnnxRuntime
from mnv2search.spec.plan import plan
from mnv2search.testing.contracts import network_of

ENGINE = OnnxRuntime.engine
SOURCES = sorted(Path(runner.__file__).parent.rglob("*.py"))


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.name)
def test_the_runner_is_written_for_python_3_8(source: Path) -> None:
    ast.parse(source.read_text(encoding="utf-8"), feature_version=(3, 8))


def test_the_package_holds_the_runner_and_one_engine() -> None:
    packed = runner_package(ENGINE)
    with zipfile.ZipFile(io.BytesIO(packed.content)) as archive:
        names = archive.namelist()
    engines = [name for name in names if "/engines/" in name and not name.endswith("__init__.py")]
    assert engines == ["mnv2search/latency/runner/engines/onnxruntime.py"]
    assert {"__main__.py", "mnv2search/latency/runner/serve.py"} <= set(names)


def test_the_name_of_the_package_is_that_of_its_contents() -> None:
    assert runner_package(ENGINE).name == runner_package(ENGINE).name != runner_package("json").name


def test_an_engine_without_a_file_cannot_be_sent() -> None:
    with pytest.raises(DeviceError, match="has no file"):
        runner_package("mnv2search.latency.runner.engines.nothing")


def served(folder: Path, *questions: object) -> list[dict[str, object]]:
    packed = runner_package(ENGINE)
    (folder / packed.name).write_bytes(packed.content)
    done = subprocess.run(
        [sys.executable, "-I", packed.name],
        input="".join(json.dumps(q) + "\n" for q in questions),
        capture_output=True,
        text=True,
        cwd=folder,
        check=True,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_the_package_serves_without_anything_else_of_ours(tmp_path: Path) -> None:
    spec = network_of(resolution=64)
    artifact = OnnxRuntime().lower(plan(spec))
    (tmp_path / artifact.digest).mkdir()
    artifact.write(tmp_path / artifact.digest)
    wanted = {
        "artifact": artifact.digest,
        "settings": OnnxRuntime().settings(spec),
        "burst_ms": 1.0,
        "warm_ms": 0.0,
        "min_runs": 3,
    }
    hello, bursts, output, profiled = served(
        tmp_path,
        {"do": "hello", "engine": ENGINE, "cores": ""},
        {"do": "bursts", "bursts": [wanted, wanted]},
        {"do": "output", **wanted},
        {"do": "step_times", "runs": 2, **wanted},
    )
    assert hello["cores"] == os.cpu_count()
    assert [len(runs) >= 3 for runs in bursts["runs"]] == [True, True]  # type: ignore[attr-defined]
    assert output["shape"] == [1, 10]
    assert {name.partition("/")[0] for name in profiled["steps"]} >= {"layer_1", "classifier"}  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("question", "kind", "match"),
    [
        ({"do": "hello", "engine": "no.such.engine"}, "engine", "cannot be imported"),
        ({"do": "hello", "engine": ENGINE, "cores": "99-98"}, "options", "cores is '99-98'"),
        ({"do": "hello", "engine": "choosy_engine", "precision": "fp16"}, "options", "not in fp16"),
        ({"do": "output", "artifact": "0" * 40, "settings": {}}, "machine", "FileNotFoundError"),
    ],
    ids=["engine", "cores", "precision", "artifact"],
)
def test_what_goes_wrong_is_an_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, question: Question, kind: str, match: str
) -> None:
    (tmp_path / "choosy_engine.py").write_text(
        "def version():\n    return '1'\n\ndef refusal(precision):\n    return 'not in ' + precision\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    answer = Server(str(tmp_path)).answer(question)
    assert answer["kind"] == kind
    assert match in answer["error"]


def test_the_artifacts_used_longest_ago_are_removed_first(tmp_path: Path) -> None:
    for age, digit in enumerate("abc"):
        folder = tmp_path / (digit * 40)
        folder.mkdir()
        (folder / "model").write_bytes(bytes(100))
        os.utime(folder, (1000 - age, 1000 - age))
    (tmp_path / "runner.pyz").write_bytes(bytes(1000))
    prune(str(tmp_path), 200)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a" * 40, "b" * 40, "runner.pyz"]

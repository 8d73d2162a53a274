"""Every command on real input, its JSON keys, and what it says of bad input."""

from __future__ import annotations

import errno
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mnv2search.cli.search.run import resume_command
from mnv2search.study.engine import Search
from mnv2search.workflows.search.options import RunOptions
from mnv2search.workflows.search.request import evaluator_of, resumed_folder

Run = Callable[..., Any]
SPEC = """mnv2search: 1
name: mine
resolution: 64
blocks:
  - {t: 6, c: 24, n: 2, s: 2}
"""
BAD = """mnv2search: 1
name: bad
blocks:
  - {t: 6, c: 24, n: 2, s: 3}
  - {t: 6, c: 24, n: 2, k: 4}
"""
COST_KEYS = {"name", "params", "params_no_bn", "madds", "peak_activation_bytes", "size_bytes"}
LATENCY_KEYS = {"name", "median_ms", "ci_low_ms", "ci_high_ms", "p90_ms", "samples", "dropped", "kind", "device"}


@pytest.fixture
def spec(tmp_path: Path) -> str:
    path = tmp_path / "mine.yaml"
    path.write_text(SPEC)
    return str(path)


def test_cost_prints_the_keys_that_scripts_rely_on(run: Run, spec: str) -> None:
    done = run("cost", spec, "mobilenet_v2_1.0_224", "--json")
    counted = json.loads(done.out)
    assert done.code == 0
    assert [set(one) for one in counted] == [COST_KEYS] * 2
    assert counted[1]["madds"] == 300_775_552


def test_cost_draws_a_table_with_units(run: Run, spec: str) -> None:
    done = run("cost", spec)
    assert done.code == 0
    assert "kB, fp32" in done.out


def test_latency_prints_the_keys_that_scripts_rely_on(run: Run, spec: str) -> None:
    done = run("latency", spec, "mobilenet_v2_0.35_96", "--device", "simulated", "--json")
    measured = json.loads(done.out)
    assert done.code == 0
    assert all(set(one) >= LATENCY_KEYS for one in measured)
    assert [one["kind"] for one in measured] == ["measured", "measured"]


def test_check_is_silent_about_a_good_file(run: Run, spec: str) -> None:
    done = run("check", spec, "--json")
    assert (done.code, json.loads(done.out)) == (0, [])


def test_check_lists_every_problem_with_its_place(run: Run, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text(BAD)
    done = run("check", "bad.yaml", "--json")
    found = json.loads(done.out)
    assert done.code == 2
    assert {tuple(sorted(one)) for one in found} == {("at", "column", "file", "hint", "line", "message")}
    assert [(one["at"], one["line"]) for one in found] == [("blocks[0].stride", 4), ("blocks[1].kernel", 5)]


def test_compile_writes_every_format_and_says_how_they_differ(run: Run, spec: str, tmp_path: Path) -> None:
    files = [f"mine{suffix}" for suffix in (".pt", ".pt2", ".onnx", ".py")]
    done = run("compile", spec, *(word for file in files for word in ("-o", file)))
    assert done.code == 0
    assert all((tmp_path / file).stat().st_size > 0 for file in files)
    assert done.out.count("differs from the network by at most") == len(files)
    assert "the same" in done.err


def test_compiled_weights_are_loadedresume_command(run: Run, spec: str, tmp_path: Path) -> None:
    run("compile", spec, "-o", "first.pt", "--seed", "3", "--no-fvcore")
    done = run("compile", spec, "--weights", "first.pt", "-o", "second.pt", "--seed", "4", "--no-fvcore")
    import torch

    first, second = (torch.load(tmp_path / n, weights_only=True)["state_dict"] for n in ("first.pt", "second.pt"))
    assert done.code == 0
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_compile_does_not_overwrite_unless_forced(run: Run, spec: str, tmp_path: Path) -> None:
    (tmp_path / "mine.pt").write_text("precious")
    refused = run("compile", spec, "-o", "mine.pt", "--no-fvcore")
    assert refused.code == 2
    assert "--force" in refused.err
    assert (tmp_path / "mine.pt").read_text() == "precious"
    assert run("compile", spec, "-o", "mine.pt", "--no-fvcore", "--force").code == 0


def test_compile_of_a_space_says_how_to_pick(run: Run) -> None:
    done = run("compile", "mnv2-multipliers")
    assert done.code == 2
    assert "--pick" in done.err


def test_picks_make_a_network_of_a_space(run: Run) -> None:
    done = run("cost", "mnv2-multipliers", "--pick", "width=0.5", "--pick", "resolution=160", "--json")
    assert done.code == 0
    assert json.loads(done.out)[0]["madds"] == 50_184_000


def test_width_and_resolution_replace_those_of_the_file(run: Run) -> None:
    words = ("cost", "mobilenet_v2_1.0_224", "--json")
    resized = run(*words, "--width", "0.5", "--resolution", "160")
    assert json.loads(resized.out)[0]["madds"] == 50_185_280


def test_a_rectangle_is_given_as_height_and_width(run: Run) -> None:
    done = run("compile", "deeplabv3_mobilenet_v2", "--resolution", "65x129", "--no-fvcore")
    assert done.code == 0
    assert "deeplabv3_mobilenet_v2 at 65 x 129 px" in done.out


def test_a_rectangle_is_measured(run: Run) -> None:
    done = run("latency", "ssdlite_mobilenet_v2", "--resolution", "96x160", "--device", "simulated", "--json")
    assert done.code == 0


def test_devices_names_every_runtime(run: Run) -> None:
    names = {one["name"] for one in json.loads(run("devices", "--json").out)}
    assert names >= {"onnxruntime", "torch"}


def test_catalog_lists_published_and_counted_figures(run: Run) -> None:
    entries = json.loads(run("catalog", "--json").out)
    assert len(entries) >= 43
    assert all(one["published"] and one["counted"]["madds"] > 0 and one["architecture"] for one in entries)
    assert run("catalog").out.count("tensorflow/models") >= 22


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["frobnicate"], "unknown command"),
        (["cost"], "Missing argument"),
        (["cost", "nowhere.yaml"], "nowhere.yaml"),
        (["cost", "mobilenet_v2_1.0_244"], "did you mean"),
        (["cost", "mobilenet_v2_1.0_224", "--width", "-1"], "not a number above 0"),
        (["cost", "mobilenet_v2_1.0_224", "--resolution", "99999"], "resolution"),
        (["cost", "mobilenet_v2_1.0_224", "--resolution", "64x"], "is no size"),
        (["cost", "mobilenet_v2_1.0_224", "--resolution", "64x9999"], "width is 9999"),
        (["cost", "ssdlite_mobilenet_v2", "--resolution", "20x400"], "20 x 400"),
        (["cost", "mobilenet_v2_1.0_224", "--pick", "width=1"], "nothing to pick"),
        (["cost", "mnv2-multipliers", "--pick", "width"], "AT=VALUE"),
        (["cost", "mnv2-multipliers", "--first", "--pick", "widht=1"], "did you mean"),
        (["latency", "mobilenet_v2_0.35_96", "--device", "onnxruntim"], "did you mean"),
        (["latency", "mobilenet_v2_0.35_96", "--device", "onnxruntime:thread=1"], "did you mean"),
        (["latency", "mobilenet_v2_0.35_96", "--device", "onnxruntime:threads=x"], "number"),
        (["latency", "mobilenet_v2_0.35_96", "--time", "soon"], "not a time"),
        (["compile", "mobilenet_v2_0.35_96", "-o", "x.caffe"], "unknown export format"),
        (["compile", "mobilenet_v2_0.35_96", "-o", "nowhere/x.pt"], "does not exist"),
        (["train", "mobilenet_v2_0.35_96", "--data", ".", "--recipe", "."], ". is a folder"),
        (["run"], "--latency-ms"),
        (["run", "--latency-ms", "0"], "not a number above 0"),
        (["run", "--latency-ms", "5", "--space", "mnv3"], "did you mean"),
        (["run", "--latency-ms", "5", "--latency-min-ms", "6"], "band"),
        (["run", "--latency-ms", "5", "--sampler", "nsga3"], "nsga2"),
        (["run", "--latency-ms", "5", "--accuracy", "imagnet"], "did you mean"),
        (["run", "--resume", "nothing"], "there is no run in results/nothing"),
        (["front", "nothing"], "there is no run 'nothing' in results"),
        (["verify", "nothing"], "there is no run 'nothing' in results"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_told_with_exit_code_2(run: Run, words: list[str], said: str) -> None:
    done = run(*words)
    assert done.code == 2
    assert said in done.err
    assert "Traceback" not in done.err


def test_a_run_in_place_of_a_spec_is_answered_with_its_network(run: Run, tmp_path: Path) -> None:
    (tmp_path / "ship.yaml").write_text(SPEC)
    done = run("compile", str(tmp_path))
    assert done.code == 2
    assert f"is a run; its network is {tmp_path / 'ship.yaml'}" in done.err


def test_a_run_is_found_by_its_name(run: Run) -> None:
    words = ["run", "--latency-ms", "5", "--space", "mnv2-multipliers", "--device", "simulated", "--trials", "13"]
    assert run(*words, "--name", "it", "--no-confirm").code == 0
    by_name, by_folder = run("front", "it"), run("front", "results/it")
    as_csv, as_markdown = run("front", "it", "--csv"), run("front", "it", "--markdown")
    assert by_name.code == by_folder.code == 0
    assert by_name.out == by_folder.out
    assert as_csv.out.startswith("network,")
    assert "ship " in as_csv.err
    assert "\n| --- | ---: |" in as_markdown.out
    assert run("verify", "it").code == 0


@pytest.mark.parametrize("option", ["--params", "--latency-ms"])
def test_other_options_beside_resume_are_refused(run: Run, option: str) -> None:
    done = run("run", "--resume", "x", option, "9")
    assert done.code == 2
    assert f"{option} cannot be given with --resume" in done.err


def test_what_a_function_prints_does_not_disturb_the_document(run: Run, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def f(spec, seed):\n    print('chatter')\n    return 0.5\n")
    words = ("run", "--latency-ms", "5", "--trials", "3", "--space", "mnv2-multipliers", "--device", "simulated")
    done = run(*words, "--accuracy", "python:mine.py:f", "--json")
    assert json.loads(done.out)["trials"] == 3
    assert "chatter" in done.err


def test_a_run_is_resumed_by_name_and_by_folder(run: Run) -> None:
    words = ("run", "--latency-ms", "5", "--trials", "13", "--space", "mnv2-multipliers", "--device", "simulated")
    assert run(*words, "--name", "a").code == 0
    assert run("run", "--resume", "a", "--trials", "14").code == 0
    assert json.loads(run("run", "--resume", "results/a", "--trials", "15", "--json").out)["trials"] == 15


@pytest.mark.parametrize("folder", ["results/a", "res/ci", "here", "/tmp/runs/a b"])
def test_the_command_that_goes_on_names_the_folder(folder: str) -> None:
    words = shlex.split(resume_command(Path(folder)))
    root = Path(words[5]) if "--output-dir" in words else Path("results")
    assert resumed_folder(words[3], root) == Path(folder)


def test_ctrl_c_tells_a_command_that_works(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("--latency-ms", "5", "--trials", "13", "--space", "mnv2-multipliers", "--device", "simulated")

    class Stopped(Search):
        def run(self) -> Any:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("mnv2search.study.engine.Search", Stopped)
        done = run("run", *words, "--output-dir", "res", "--name", "ci")
        again = run("run", "--resume", "res/ci")
    assert (done.code, again.code) == (130, 130)
    assert again.err.splitlines()[-1] == done.err.splitlines()[-1]
    assert run(*shlex.split(done.err.splitlines()[-1].partition("mnv2search ")[2])).code == 0


def test_weights_are_looked_at_without_an_output(run: Run, spec: str, tmp_path: Path) -> None:
    (tmp_path / "w.pt").write_text("hi")
    assert run("compile", spec, "--weights", "w.pt", "--no-fvcore").code == 2


PYTHON = f"{shlex.quote(sys.executable)} -m mnv2search"


@pytest.mark.parametrize(
    ("line", "code"),
    [(f"{PYTHON} cost mobilenet_v2_0.35_96 >&-", 0), (f"{PYTHON} cost nowhere >&- 2>&-", 2)],
    ids=["output", "both"],
)
def test_a_stream_that_the_caller_closed_is_no_reason_to_fail(line: str, code: int) -> None:
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (code, "")


def test_letters_that_the_terminal_does_not_have_are_written_by_their_code(tmp_path: Path) -> None:
    (tmp_path / "u.yaml").write_text(SPEC.replace("name: mine", "name: für"), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "mnv2search", "cost", "u.yaml"],
        env={**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONPATH": os.getcwd()},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert r"f\xfcr" in done.stdout


def test_a_plot_in_a_folder_that_cannot_be_written_to_is_refused_at_once(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.access", lambda *_: False)
    done = run("devices", "audit", "--device", "simulated", "-n", "2", "-o", "a.png")
    assert (done.code, done.out) == (2, "")
    assert "cannot be written to" in done.err


def test_an_audit_is_printed_though_its_plot_finds_no_room(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def is_full(self: Path, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", is_full)
    done = run("devices", "audit", "--device", "simulated", "-n", "3", "-o", "a.png")
    assert done.code == 1
    assert "mean prediction error" in done.out
    assert "a.png: cannot be written: No space left on device" in done.err


def test_a_file_that_is_missing_is_not_likened_to_another_by_its_ending(run: Run, tmp_path: Path) -> None:
    (tmp_path / "ab.yaml").write_text(SPEC)
    assert "ab.yaml" not in run("check", "cd.yaml").out
    assert "did you mean ab.yaml?" in run("check", "abb.yaml").out


def test_a_profile_then_an_audit(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mnv2search.workflows.devices import profile as module

    monkeypatch.setattr(module, "MOST_NETWORKS", 36)  # however long that takes
    device = ("--device", "simulated:noise=0.01")
    profile = json.loads(run("device-profile", *device, "--space", "mnv2", "--time", "10h", "--json").out)
    plot = tmp_path / "audit.png"
    found = json.loads(run("devices", "audit", *device, "-n", "6", "-o", str(plot), "--json").out)
    assert found["learned_from"] == profile["measured"] > 0
    assert len(found["networks"]) == 6
    assert plot.stat().st_size > 1000


@pytest.mark.parametrize(
    ("space", "learning"),
    [
        ("tiny32", "supernet:data=photos"),
        ("ssdlite", "train-dense:data=photos,task=detection"),
        ("deeplab-513", "train-dense:data=photos,task=segmentation"),
    ],
)
def test_what_learns_from_data_follows_from_the_space(space: str, learning: str) -> None:
    assert evaluator_of(RunOptions(data="photos", space=space)) == learning


def test_a_space_without_estimates_is_refused_and_leaves_no_folder(run: Run, tmp_path: Path) -> None:
    words = ("run", "--latency-ms", "6", "--space", "ssdlite", "--device", "simulated")
    done = run(*words, "--accuracy", "imagenet", "--trials", "3")
    assert done.code == 2
    assert "no ImageNet estimate" in done.err
    assert not list(tmp_path.glob("results/*"))


def test_a_run_that_fails_before_it_measures_leaves_no_folder(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mnv2search.errors import EvaluatorError

    def fails(_: object) -> None:
        raise EvaluatorError("no luck")

    monkeypatch.setattr(Search, "run", fails)
    words = ("run", "--latency-ms", "5", "--trials", "3", "--space", "mnv2-multipliers", "--device", "simulated")
    assert run(*words).code == 1
    assert not list(tmp_path.glob("results/*"))


def test_a_disk_that_fills_up_during_a_run_is_a_failure_and_no_mistake(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mnv2search.results.records.os.fsync", full)
    words = ("run", "--latency-ms", "5", "--trials", "3", "--space", "mnv2-multipliers", "--device", "simulated")
    done = run(*words)
    assert done.code == 1
    assert "No space left" in done.err


@pytest.mark.parametrize(
    "words",
    [
        ["run"],
        ["run", "--resume", "zz"],
        ["run", "--latency-ms", "5", "--latency-min-ms", "9"],
        ["run", "--latency-ms", "5", "--space", "nope"],
        ["run", "--latency-ms", "5", "--accuracy", "imagnet"],
        ["run", "--latency-ms", "5", "--device", "onnxruntim"],
        ["compile", "mobilenet_v2_0.35_96", "-o", "x.tfl"],
        ["compile", "mobilenet_v2_0.35_96", "--precision", "int8"],
    ],
    ids=" ".join,
)
def test_cheap_mistakes_are_told_before_anything_heavy_is_loaded(words: list[str]) -> None:
    heavy = "{'torch', 'optuna', 'onnxruntime', 'scipy'}"
    code = (
        f"import sys; sys.argv = ['mnv2search', *{words!r}]\nfrom mnv2search.cli.main import main\n"
        f"try: main()\nexcept SystemExit as leave: print(leave.code, {heavy} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "2 set()\n", done.stderr


def test_an_unknown_space_lists_spaces_and_an_unknown_spec_specs(run: Run) -> None:
    space = run("run", "--latency-ms", "5", "--space", "nope").err
    spec = run("cost", "nope").err
    assert "known: deeplab-513, mnasnet, mnv2, mnv2-multipliers, proxyless, ssdlite, tiny32\n" in space
    assert "unknown spec 'nope'" in spec
    assert "tiny32" not in spec


def test_a_table_that_is_piped_has_no_blanks_at_the_ends_of_lines(run: Run) -> None:
    done = run("cost", "mobilenet_v2_1.0_224", "mobilenet_v2_0.35_96")
    assert "mobilenet_v2_1.0_224" in done.out
    assert [line for line in done.out.splitlines() if line != line.rstrip()] == []


def test_the_command_that_resumes_a_run_has_its_workers_and_no_password() -> None:
    url = "postgresql://me:secret@db/runs"
    command = resume_command(Path("results/team"), workers=2, storage=url, launcher="ray:cpus=4")
    shown = "--workers 2 --storage 'postgresql://me:***@db/runs' --launcher ray:cpus=4"
    assert command == f"mnv2search run --resume team {shown}"

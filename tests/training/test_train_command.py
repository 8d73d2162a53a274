"""`mnv2search data` and `mnv2search train` on real files."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from pictures import draw_pictures
from PIL import Image
from small_networks import YAML

from mnv2search.errors import StoppedError
from mnv2search.model.weights.network_file import read_network

if TYPE_CHECKING:
    from mnv2search.workflows.training.request import TrainingRequest

Run = Callable[..., Any]
# Until a test gives up on another process, however busy the machine is.
WAIT_S = 1200
RECIPE = "lr: 0.05\nlr_batch: 8\nbatch: 8\nepochs: 3\nema: 0.9\n"


@pytest.fixture(autouse=True)
def single_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    """The precision does not depend on how long steps take."""
    monkeypatch.setattr("mnv2search.training.trainer.automatic_precision", lambda *_given: "float32")


@pytest.fixture
def laid(tmp_path: Path) -> Path:
    (tmp_path / "mine.yaml").write_text(YAML)
    (tmp_path / "quick.yaml").write_text(RECIPE)
    return draw_pictures(tmp_path / "photos")


def test_data_is_described(run: Run, laid: Path) -> None:
    (laid / "red" / "torn.jpg").write_bytes(b"torn")
    (laid / "blue" / "notes.txt").write_text("no image")
    done = run("data", "photos", "--json")
    told = json.loads(done.out)
    assert told["classes"] == ["blue", "green", "red"]
    assert [sum(told["counts"][split]) for split in ("train", "val", "test")] == [41, 7, 12]
    assert [Path(p).name for p in told["unreadable"]] == ["torn.jpg"]
    assert told["others"] == 1
    shown = run("data", "photos")
    assert shown.code == 0
    assert "1 image cannot be read, skipped in training" in shown.out
    assert "images in photos" in shown.out


def test_the_same_picture_in_two_parts_is_told_of(run: Run, tmp_path: Path) -> None:
    draw_pictures(tmp_path / "set" / "train")
    draw_pictures(tmp_path / "set" / "test", count=4, seed=5)
    twin = tmp_path / "set" / "test" / "red" / "twin.png"
    twin.write_bytes((tmp_path / "set" / "train" / "red" / "003.png").read_bytes())
    told = json.loads(run("data", "set", "--json").out)
    assert [[Path(p).name for p in pair] for pair in told["repeated"]] == [["003.png", "twin.png"]]


def test_a_network_is_trained(run: Run, laid: Path, tmp_path: Path) -> None:
    done = run("train", "mine.yaml", "--data", "photos", "--recipe", "quick.yaml", "-o", "out", "--json")
    assert done.code == 0, done.err
    told = json.loads(done.out)
    assert told == json.loads((tmp_path / "out" / "training.json").read_text())
    assert told["steps"] == 15
    assert told["held_out"]["images"] == 6
    assert told["test"]["images"] == 12
    assert told["test"]["low"] <= told["test"]["top1"] <= told["test"]["high"]
    network = read_network(tmp_path / "out" / "best.pt")
    assert network.spec.head is not None
    assert network.spec.head.classes == 3
    assert len((tmp_path / "out" / "history.jsonl").read_text().splitlines()) == 3
    compiled = run("compile", "out/best.pt", "-o", "net.onnx", "--precision", "int8", "--calibration", "photos")
    assert compiled.code == 0, compiled.err
    assert "its ranges come from 42 images" in " ".join(compiled.out.split())


def test_files_are_evaluated_on_the_test_images_that_the_training_drew(run: Run, laid: Path) -> None:
    words = ("train", "mine.yaml", "--data", "photos", "--recipe", "quick.yaml", "--seed", "3", "-o", "out")
    told = json.loads(run(*words, "--json").out)
    done = run("compile", "out/best.pt", "-o", "net.pt", "--data", "photos", "--no-fvcore", "--json")
    assert done.code == 0, done.err
    network, *_ = json.loads(done.out)["judged"]
    assert network["loss"] == pytest.approx(told["test"]["loss"])


def test_a_finished_training_is_shown_again_and_gets_no_other_length(run: Run, laid: Path, tmp_path: Path) -> None:
    words = ("train", "mine.yaml", "--data", "photos", "--recipe", "quick.yaml", "-o", "out")
    first = run(*words, "--epochs", "1")
    told = json.loads((tmp_path / "out" / "training.json").read_text())
    again = run(*words, "--epochs", "1")
    kept = json.loads((tmp_path / "out" / "training.json").read_text())
    assert (first.code, again.code) == (0, 0)
    assert "out holds a training of 5 steps that is already finished" in again.err
    assert "nothing was left to do" in again.out
    assert (kept["seconds"], kept["images_per_s"]) == (told["seconds"], told["images_per_s"])
    for other in (["--epochs", "2"], ["--time", "5s"]):
        refused = run(*words, *other)
        assert refused.code == 2
        assert f"finished training of 5 steps, and {other[0]} asks for another length" in " ".join(
            refused.err.split()
        )
        assert "-o" in refused.err


def training_request(**fields: Any) -> TrainingRequest:
    """A training of `mine.yaml` on `photos` by `quick.yaml`, in `out`."""
    from mnv2search.recipe import load_recipe
    from mnv2search.spec.yaml.codec import load_spec
    from mnv2search.workflows.training.request import TrainingRequest

    spec, recipe = load_spec("mine.yaml"), load_recipe("quick.yaml")
    return TrainingRequest(spec=spec, data=Path("photos"), folder=Path("out"), recipe=recipe, **fields)


def test_a_training_that_is_gone_on_with_keeps_its_length(run: Run, laid: Path, tmp_path: Path) -> None:
    from mnv2search.workflows.training.train import train_spec

    asked = iter([True] + [False] * 9 + [True])
    request = training_request(epochs=2, stop=lambda: next(asked, True))
    with pytest.raises(StoppedError, match="while images were being decoded"):
        train_spec(request)
    with pytest.raises(StoppedError, match="run the same command to resume"):
        train_spec(request)
    done = run("train", "mine.yaml", "--data", "photos", "--recipe", "quick.yaml", "-o", "out", "--time", "9s")
    assert done.code == 0, done.err
    assert "out holds a training of 10 steps, which resumes after step" in " ".join(done.err.split())
    assert "; --time is not used" in " ".join(done.err.split())
    assert json.loads((tmp_path / "out" / "training.json").read_text())["steps"] == 10


def test_a_network_that_learned_nothing_is_held_against_the_commonest_class(
    run: Run, laid: Path, tmp_path: Path
) -> None:
    for extra in range(40):
        Image.new("RGB", (40, 40), (5 * extra, 90, 90)).save(laid / "red" / f"more{extra}.png")
    (tmp_path / "still.yaml").write_text(RECIPE.replace("lr: 0.05", "lr: 1.0e-8"))
    done = run("train", "mine.yaml", "--data", "photos", "--recipe", "still.yaml", "--epochs", "1", "-o", "out")
    said = " ".join(done.out.split())
    told = json.loads((tmp_path / "out" / "training.json").read_text())
    assert told["test"]["commonest"] == 0.6
    assert f"top-1 on {told['test']['images']} images, majority class 60.0 %" in said
    assert told["test"]["trivial"] == {"name": "majority class", "value": 0.6}
    assert (
        "warning: the interval does not lie above the result of a trivial answer (majority class): validation" in said
    )
    assert "does not lie above" in (tmp_path / "out" / "report.html").read_text()


def test_the_test_images_have_no_part_in_what_is_kept(run: Run, laid: Path, tmp_path: Path) -> None:
    from mnv2search.data.reading import read_dataset

    words = ("train", "mine.yaml", "--data", "photos", "--recipe", "quick.yaml", "--json")
    before = json.loads(run(*words, "-o", "before").out)
    for example in read_dataset(tmp_path / "photos", "classification").test:
        Image.new("RGB", (40, 40), (255, 255, 255)).save(example.path)
    after = json.loads(run(*words, "-o", "after").out)
    assert (after["held_out"], after["best_step"]) == (before["held_out"], before["best_step"])
    assert after["test"]["loss"] != before["test"]["loss"]
    one, other = (read_network(tmp_path / name / "best.pt").state_dict() for name in ("before", "after"))
    assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())


def test_a_part_that_loses_a_class_to_broken_images_is_told_of(run: Run, laid: Path, tmp_path: Path) -> None:
    parts = tmp_path / "parts"
    draw_pictures(parts / "train", count=60)
    draw_pictures(parts / "test", count=60, seed=1)
    for path in sorted((parts / "test" / "green").iterdir())[1:]:
        path.unlink()
    (parts / "test" / "green" / "000.png").write_bytes(b"torn")
    done = run("train", "mine.yaml", "--data", "parts", "--recipe", "quick.yaml")
    assert done.code == 2
    assert "parts: test has no image of green" in " ".join(done.err.split())


def test_weights_come_over_from_another_network(run: Run, laid: Path, tmp_path: Path) -> None:
    run("train", "mine.yaml", "--data", "photos", "--recipe", "quick.yaml", "-o", "small")
    wider = ("train", "mine.yaml", "--width", "0.5", "--data", "photos", "--recipe", "quick.yaml", "--epochs", "1")
    done = run(*wider, "--from", "small/best.pt", "-o", "wide")
    assert done.code == 0, done.err
    assert "of the parameters were taken over, the classifier too" in " ".join(done.out.split())
    assert "is used, with random weights" not in done.err
    named = run("train", "small/best.pt", "--data", "photos", "--recipe", "quick.yaml", "--epochs", "1", "-o", "anew")
    assert named.code == 0, named.err
    assert "is used, with random weights; --from small/best.pt uses its weights" in " ".join(named.err.split())


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--data", "nowhere"], "nowhere does not exist"),
        (["--data", "photos", "--epochs", "1", "--time", "1m"], "--epochs or --time, not both"),
        (["--data", "photos", "--recipe", "quik"], "quik"),
        (["--data", "photos"], "fewer than a batch of 64"),
        (["--data", "photos", "--from", "mine.yaml"], "cannot be read as weights"),
    ],
)
def test_mistakes_are_told_with_exit_code_2(run: Run, laid: Path, words: list[str], says: str) -> None:
    done = run("train", "mine.yaml", *words)
    assert done.code == 2
    assert says in " ".join(done.err.split())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_keeps_the_last_step_and_says_so(number: signal.Signals, laid: Path, tmp_path: Path) -> None:
    words = ["train", "mine.yaml", "--data", "photos", "--recipe", "quick.yaml", "--epochs", "4000", "-o", "out"]
    command = [sys.executable, "-m", "mnv2search", *words]
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        assert running.stderr is not None
        evaluations = (line for line in running.stderr if "validation:" in line)
        assert [next(evaluations), next(evaluations)]  # between the two, a checkpoint is written
        running.send_signal(number)
        out, err = running.communicate(timeout=WAIT_S)
    assert running.returncode == 130, err
    step = torch.load(tmp_path / "out" / "last.ckpt", weights_only=True)["step"]
    assert 10 <= step < 20000
    assert out == ""
    assert err.endswith(f"interrupted at step {step}; run the same command to resume\n")


@pytest.mark.parametrize("command", ["train", "supernet"])
def test_an_interruption_at_once_says_what_is_kept(
    command: str, run: Run, laid: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mnv2search.supernet import train as supernet
    from mnv2search.training.gradient_step import gradient_step

    (tmp_path / "space.yaml").write_text(YAML.replace("6, 24, 2", "6, [16, 24], 2"))
    words = {
        "train": ("train", "mine.yaml", "--data", "photos", "--recipe", "quick.yaml", "-o", "out"),
        "supernet": ("supernet", "--space", "space.yaml", "--data", "photos", "--epochs", "2", "-o", "out"),
    }[command]

    def step(*given: Any, **options: Any) -> Any:
        if (tmp_path / "out" / "last.ckpt").exists():
            handler = signal.getsignal(signal.SIGTERM)
            assert callable(handler)
            handler(signal.SIGTERM, None)  # two of them: the first ends the step
            handler(signal.SIGTERM, None)
        return real(*given, **options)

    real, name = gradient_step, "mnv2search.training.trainer.gradient_step"
    monkeypatch.setattr(name, step)
    monkeypatch.setattr(supernet, "CHECKPOINT_S", 0.0)
    done = run(*words)
    assert done.code == 130
    assert "interrupted; the last checkpoint is kept in out: run the same command to resume" in done.err
    monkeypatch.setattr(name, real)
    again = run(*words)
    assert again.code == 0, again.err


def train_words(*more: str) -> tuple[str, ...]:
    return ("train", "mine.yaml", "--data", "photos", "--recipe", "quick.yaml", "-o", "out", *more)


def test_a_folder_is_trained_in_by_one_process(run: Run, laid: Path, tmp_path: Path) -> None:
    from mnv2search.locking import folder_lock

    with folder_lock(tmp_path / "out", busy="the test", hint=""):
        refused = run(*train_words())
        assert refused.code == 2
        assert "error: out is in use by another training" in refused.err
        assert "wait for it to end, or give another folder (-o)" in " ".join(refused.err.split())
        assert {path.name for path in (tmp_path / "out").iterdir()} == {".lock"}
    assert run(*train_words("--epochs", "1")).code == 0


def test_a_training_that_is_refused_leaves_no_folder(run: Run, laid: Path, tmp_path: Path) -> None:
    assert run("train", "mine.yaml", "--data", "nowhere", "-o", "deep/out").code == 2
    assert not (tmp_path / "deep").exists()


def test_half_written_files_of_a_killed_training_are_removed(run: Run, laid: Path, tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        ended.wait()
    (tmp_path / "out").mkdir()
    for name in (f".last.ckpt.{ended.pid}.part", f".report.html.{ended.pid}.part"):
        (tmp_path / "out" / name).write_bytes(b"half")
    assert run(*train_words("--epochs", "1")).code == 0
    assert [path.name for path in (tmp_path / "out").iterdir() if path.name.startswith(".")] == [".lock"]


def stopped_after(steps: int, tmp_path: Path) -> None:
    """A training of three epochs in `out` that is stopped after so many steps."""
    from mnv2search.workflows.training.train import train_spec

    done = list[int]()
    request = training_request(on_progress=lambda p: done.append(p.step), stop=lambda: len(done) >= steps)
    with pytest.raises(StoppedError):
        train_spec(request)


def history_steps(tmp_path: Path) -> list[int]:
    return [json.loads(line)["step"] for line in (tmp_path / "out" / "history.jsonl").read_text().splitlines()]


def resumed_after(line: str, run: Run, tmp_path: Path) -> Any:
    """A training that is stopped after seven steps, gets a line in its history and is resumed."""
    run("data", "photos")
    stopped_after(7, tmp_path)
    with (tmp_path / "out" / "history.jsonl").open("a") as file:
        file.write(line)
    done = run(*train_words())
    assert done.code == 0, done.err
    return done


def test_a_torn_line_of_the_history_is_cut_off(run: Run, laid: Path, tmp_path: Path) -> None:
    done = resumed_after('{"step": 10, "loss"', run, tmp_path)
    assert history_steps(tmp_path) == [5, 10, 15]
    assert "damaged" not in done.err


def test_a_damaged_line_of_the_history_is_told_of(run: Run, laid: Path, tmp_path: Path) -> None:
    done = resumed_after('{"step": 10, "loss"\n', run, tmp_path)
    assert "history.jsonl: the curves leave out 1 damaged line, beginning with line 2" in " ".join(done.err.split())


@pytest.mark.parametrize(
    ("content", "says"),
    [(b"torn\n", "leave out 1 damaged line, beginning with line 1"), (None, "there are no curves: ")],
    ids=["damaged", "missing"],
)
def test_a_page_without_a_history_has_no_curves(content: bytes | None, says: str, tmp_path: Path) -> None:
    from mnv2search.workflows.training.training_log import write_page

    notes = list[str]()
    if content is not None:
        (tmp_path / "history.jsonl").write_bytes(content)
    write_page(tmp_path, title="it", lines=[], batch=8, on_note=notes.append)
    assert says in notes[0]
    assert "Training loss" not in (tmp_path / "report.html").read_text()


def test_a_new_training_begins_a_new_history(run: Run, laid: Path, tmp_path: Path) -> None:
    run(*train_words("--epochs", "2"))
    (tmp_path / "out" / "last.ckpt").unlink()
    run(*train_words("--epochs", "1"))
    assert history_steps(tmp_path) == [5]


def test_a_history_that_is_no_file_is_refused_before_a_step(run: Run, laid: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    os.mkfifo(tmp_path / "out" / "history.jsonl")
    done = run(*train_words())
    assert done.code == 2
    assert "history.jsonl: cannot be appended to: it is not a regular file" in " ".join(done.err.split())
    assert not (tmp_path / "out" / "last.ckpt").exists()


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(b"torn")], ids=["missing", "torn"])
def test_lost_weights_are_told_of_and_others_kept(
    damage: Callable[[Path], Any], run: Run, laid: Path, tmp_path: Path
) -> None:
    run("data", "photos")
    stopped_after(7, tmp_path)
    damage(tmp_path / "out" / "best.pt")
    done = run(*train_words())
    said = " ".join(done.err.split())
    assert done.code == 0, done.err
    assert "best.pt cannot be read" in said
    assert "of step 5, are lost, and the best of the remaining evaluations are kept instead" in said
    assert json.loads((tmp_path / "out" / "training.json").read_text())["best_step"] > 5
    read_network(tmp_path / "out" / "best.pt")


def test_the_last_weights_take_the_place_of_lost_ones(run: Run, laid: Path, tmp_path: Path) -> None:
    assert run(*train_words()).code == 0
    (tmp_path / "out" / "best.pt").unlink()
    done = run(*train_words())
    assert done.code == 0, done.err
    assert "are lost, and those of the last step are kept instead" in " ".join(done.err.split())
    assert json.loads((tmp_path / "out" / "training.json").read_text())["best_step"] == 15
    again = run(*train_words())
    assert again.code == 0
    assert "lost" not in again.err


def test_names_that_are_not_utf_8_reach_the_reports(run: Run, laid: Path) -> None:
    folder = Path(os.fsdecode(b"ph\xffotos"))
    (laid / "red").rename(laid / os.fsdecode(b"r\xffd\x1b[31m"))
    (laid / "blue" / "odd.png").write_bytes(b"torn")
    laid.rename(laid.with_name(folder.name))
    done = run("train", "mine.yaml", "--data", str(folder), "--recipe", "quick.yaml", "--epochs", "1", "-o", "out")
    assert done.code == 0, done.err
    told = json.loads(Path("out", "training.json").read_text(encoding="utf-8"))
    assert told["classes"] == ["blue", "green", "r\\udcffd\x1b[31m"]
    assert "\x1b" not in done.out + done.err + Path("out", "report.html").read_text(encoding="utf-8")


def test_the_accuracy_of_each_class_and_confusions_are_shown(run: Run, laid: Path, tmp_path: Path) -> None:
    (tmp_path / "still.yaml").write_text(RECIPE.replace("lr: 0.05", "lr: 1.0e-8"))
    done = run("train", "mine.yaml", "--data", "photos", "--recipe", "still.yaml", "--epochs", "1", "-o", "out")
    told = json.loads((tmp_path / "out" / "training.json").read_text())
    assert set(told["test"]["by_class"]) == {"blue", "green", "red"}
    counts = [count for row in told["confusion"].values() for count in row.values()]
    assert sum(counts) == told["test"]["images"] == 12
    right = sum(told["confusion"][name].get(name, 0) for name in told["confusion"])
    assert right / 12 == pytest.approx(told["test"]["top1"])
    assert {"image", "true", "predicted", "loss"} == set(told["worst"][0])
    assert [one["loss"] for one in told["worst"]] == sorted((one["loss"] for one in told["worst"]), reverse=True)
    assert all(Path(one["image"]).parent.name == one["true"] for one in told["worst"])
    assert "accuracy of green" in done.out
    assert "predicted class" in done.out
    page = (tmp_path / "out" / "report.html").read_text()
    assert page.count("<figure>") == 12
    assert "Confusion matrix" in page
    assert f"true: {told['worst'][0]['true']}" in page


@pytest.mark.parametrize("name", ["out", "results/mine-trained", "mine", "mine-trained"])
def test_a_training_is_resumed_by_name_from_another_folder(
    name: str, run: Run, laid: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mnv2search.workflows.training.train import train_spec

    folder = tmp_path / ("out" if name == "out" else "results/mine-trained")
    run("data", "photos")
    done = list[int]()
    request = replace(
        training_request(epochs=2, lr=0.03, on_progress=lambda p: done.append(p.step), stop=lambda: len(done) >= 7),
        folder=folder,
    )
    with pytest.raises(StoppedError):
        train_spec(request)
    (tmp_path / "mine.yaml").unlink()
    (tmp_path / "quick.yaml").unlink()
    resumed = run("train", "--resume", name, "--json")
    assert resumed.code == 0, resumed.err
    told = json.loads(resumed.out)
    assert (told["steps"], told["resumed_at"], told["recipe"]["lr"], told["name"]) == (10, 7, 0.03, "mine")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    again = subprocess.run(
        [sys.executable, "-m", "mnv2search", "train", "--resume", str(folder)],
        check=False,
        capture_output=True,
        text=True,
    )
    assert "already finished" in again.stderr, again.stderr


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--resume", "out", "--epochs", "3"], "epochs is given with a training to resume"),
        (["mine.yaml", "--resume", "out"], "spec is given with a training to resume"),
        (["--resume", "nowhere"], "there is no training 'nowhere'"),
        (["--resume", "photos"], "photos holds no settings.json"),
        (["--resume", "damaged"], "settings.json cannot be read"),
        (["mine.yaml"], "give SPEC and --data, or --resume"),
    ],
)
def test_a_resumption_that_is_not_possible_is_refused(
    words: list[str], says: str, run: Run, laid: Path, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "settings.json").write_text('{"spec": 1}')
    done = run("train", *words)
    assert done.code == 2
    assert says in " ".join(done.err.split())


def test_a_training_that_is_refused_for_want_of_time_leaves_nothing(run: Run, laid: Path, tmp_path: Path) -> None:
    done = run(*train_words("--time", "0.001s"))
    assert done.code == 2
    assert "more than the 0.001 s that are given" in " ".join(done.err.split())
    assert not (tmp_path / "out").exists()
    assert run(*train_words("--epochs", "1")).code == 0


def test_weights_are_evaluated_on_a_split(run: Run, laid: Path, tmp_path: Path) -> None:
    from mnv2search.workflows.training.evaluate import evaluate

    assert run(*train_words("--epochs", "1", "--seed", "3")).code == 0
    told = json.loads((tmp_path / "out" / "training.json").read_text())
    done = run("evaluate", "out/best.pt", "--data", "photos", "-o", "page.html")
    assert done.code == 0, done.err
    assert "accuracy of green" in done.out
    assert (tmp_path / "page.html").read_text().count("<figure>") == 12
    written = json.loads(run("evaluate", "out/best.pt", "--data", "photos", "--json").out)
    assert written["metrics"] == told["test"]
    assert (written["confusion"], written["worst"]) == (told["confusion"], told["worst"])
    held_out = evaluate("out/best.pt", data="photos", split="val")
    assert held_out.metrics == replace(held_out.metrics, main=held_out.metrics.main)
    assert held_out.metrics.main.value == told["held_out"]["top1"]
    assert "top1" in repr(held_out)
    assert len(repr(held_out).splitlines()) <= 10
    refused = run("evaluate", "out/best.pt", "--data", "photos", "-o", "page.html")
    assert refused.code == 2
    assert "page.html exists" in refused.err


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            lambda folder: (folder / "red").rename(folder / "scarlet"),
            "the network has a class 'red' where photos has",
        ),
        (
            lambda folder: (folder / "red").rename(folder.parent / "red"),
            "the network has 3 classes, and photos has 2",
        ),
    ],
    ids=["renamed", "removed"],
)
def test_weights_are_not_evaluated_on_other_classes(
    change: Callable[[Path], Any], says: str, run: Run, laid: Path
) -> None:
    assert run(*train_words("--epochs", "1")).code == 0
    change(laid)
    done = run("evaluate", "out/best.pt", "--data", "photos")
    assert done.code == 2
    assert says in " ".join(done.err.split())


def test_a_training_that_diverged_says_so(
    run: Run, laid: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mnv2search.training.gradient_step import NonFiniteGradientError, gradient_step

    def step(*given: Any) -> Any:
        if given[4].step == 6 and not given[4].reductions:
            raise NonFiniteGradientError(1.0)
        return gradient_step(*given)

    monkeypatch.setattr("mnv2search.training.trainer.gradient_step", step)
    done = run(*train_words())
    assert done.code == 0, done.err
    assert "a gradient of step 7 is not finite: the training goes back to step 5" in " ".join(done.err.split())
    assert "the training diverged: the learning rate was halved once" in done.out
    assert json.loads((tmp_path / "out" / "training.json").read_text())["reductions"] == 1


def test_a_training_that_was_stopped_early_is_finished(run: Run, laid: Path, tmp_path: Path) -> None:
    (tmp_path / "quick.yaml").write_text(RECIPE.replace("lr: 0.05", "lr: 1.0e-8") + "patience: 2\n")
    first = run(*train_words("--epochs", "40"))
    again = run(*train_words("--epochs", "40"))
    told = json.loads((tmp_path / "out" / "training.json").read_text())
    assert (first.code, again.code) == (0, 0), again.err
    assert "ended early: no better in 2 epochs" in first.out
    assert told["is_stopped_early"]
    assert told["steps"] < 200
    assert "already finished" in again.err

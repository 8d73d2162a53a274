"""What README and --help show is run: on the simulated device, with few trials in place of a time."""

from __future__ import annotations

import importlib
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from drawn import draw_pictures

from mnv2search.cli.main import COMMANDS
from mnv2search.evaluation import Budget
from mnv2search.export import export
from mnv2search.spec.model_spec import BlockSpec, Classifier, ModelSpec
from mnv2search.spec.yaml.codec import loads
from mnv2search.study.types import Settings
from mnv2search.workflows.devices import profile
from mnv2search.workflows.search.run import Request
from mnv2search.workflows.search.run import run as run_job

Run = Callable[..., Any]
ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
QUICK = {
    "run": ["--device", "simulated"],
    "latency": ["--device", "simulated"],
    "device-profile": ["--device", "simulated", "--time", "10h"],
    "devices audit": ["--device", "simulated"],
    "devices probe": ["--device", "simulated", "--time", "10h"],
    "train": ["--epochs", "1", "--resolution", "32"],
    "supernet": ["--epochs", "1", "--fidelity", "0.35x0.5"],
    "audit": ["--members", "4", "--epochs", "1"],
}


SMALL = ModelSpec(
    name="small", width=0.25, resolution=32, blocks=(BlockSpec(channels=16, stride=2),), head=Classifier(classes=3)
)


@pytest.fixture(autouse=True)
def few_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A profile ends by its networks, on any machine."""
    monkeypatch.setattr(profile, "MOST_NETWORKS", 12)


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)


def commands(text: str) -> list[list[str]]:
    """Words after `mnv2search` of every command of a text, its time replaced by trials."""
    found = re.findall(r"^\s*(?:\$ )?mnv2search (.+?)\s*(?:  #.*)?$", text, flags=re.MULTILINE)
    return [shlex.split(line.split("   #")[0]) for line in found]


def quick(words: list[str]) -> list[str]:
    own = QUICK.get(" ".join(words[:2]), QUICK.get(words[0], []))
    extra = [] if "--resume" in words else own
    if words[0] in ("train", "supernet") and "--time" in words:
        at = words.index("--time")
        words = [*words[:at], *words[at + 2 :]]
    if words[0] != "run" or "--resume" in words:
        return [*words, *extra]
    at = words.index("--time") if "--time" in words else len(words)
    if "--data" in words:
        extra = [*extra, "--accuracy", "supernet:epochs=1,fidelity=0.35x0.5"]
    return [*words[:at], "--trials", "14", *words[at + 2 :], *extra]


@pytest.mark.parametrize("text", blocks("yaml"), ids=["spec", "space"])
def test_every_yaml_of_the_readme_loads(text: str) -> None:
    assert loads(text).name


def test_the_python_of_the_readme_runs(capsys: pytest.CaptureFixture[str]) -> None:
    for text in blocks("python"):
        exec(compile(text, "README.md", "exec"), {})
    assert capsys.readouterr().out.splitlines()[0] == "50185280"


def test_the_error_of_the_readme_is_the_error_that_is_told(run: Run, tmp_path: Path) -> None:
    shown = next(text for text in blocks("text") if "error:" in text)
    row = re.search(r"7 \|   (- .*)", shown)
    assert row is not None
    head = "mnv2search: 1\nname: my-space\nresolution: 128\nwidth: 1.0\nblocks:\n  - [1, 16, 1, 1]\n"
    (tmp_path / "my-space.yaml").write_text(f"{head}  {row[1]}\n")
    assert run("check", "my-space.yaml").out == shown


def test_the_commands_of_the_readme_run_in_order(run: Run, tmp_path: Path) -> None:
    (tmp_path / "my-space.yaml").write_text(blocks("yaml")[1])
    draw_pictures(tmp_path / "photos", count=40)
    words = [quick(w) for text in blocks("console") for w in commands(text)]
    codes = {" ".join(w): run(*w).code for w in words}
    assert len(codes) >= 9
    assert set(codes.values()) == {0}, codes


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of runs that holds the run which the examples name."""
    root = tmp_path_factory.mktemp("results")
    request = Request(
        space="mnv2-multipliers",
        device="simulated",
        evaluator="imagenet",
        budget=Budget(latency_ms=15.0),
        settings=Settings(trials=14),
        root=root,
        name="mnv2-15ms",
    )
    run_job(request, on_progress=lambda _: None)
    return root


def examples(name: str) -> list[list[str]]:
    command = importlib.import_module(f"mnv2search.cli.{COMMANDS[name][0]}.{name.replace('-', '_')}").command
    helps = [command.help, *(own.help for own in getattr(command, "commands", {}).values())]
    return [words for text in helps for words in commands(text.split("Example:")[1])]


@pytest.mark.parametrize("name", COMMANDS)
def test_the_examples_of_every_help_run(run: Run, name: str, results: Path) -> None:
    Path("search_spaces").symlink_to(ROOT / "search_spaces")
    Path("results").symlink_to(results)
    draw_pictures(Path("photos"), count=40)
    export(SMALL, Path("best.pt"))
    words = examples(name)
    assert words
    assert [run(*quick(w), *(["--force"] if w[0] == "run" else [])).code for w in words] == [0] * len(words)

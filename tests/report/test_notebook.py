"""What a notebook shows: a short repr and tables of everything that a public function returns."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from rich.console import Console
from run_requests import run_request
from small_spaces import TINY

sys.path += [str(Path(__file__).parents[1] / folder) for folder in ("training", "house")]
from generator import GENERATOR
from pictures import draw_pictures

import mnv2search as m
from mnv2search.display import Displayed, Listing
from mnv2search.errors import MissingExtraError, OptionError
from mnv2search.results.checks import Ranked, Statistic
from mnv2search.results.outcome import Outcome
from mnv2search.results.training import TrainingReport
from mnv2search.workflows.search.run import run as search
from mnv2search.workflows.search.workers import WorkerResult

NETWORK = "mobilenet_v2_0.35_96"
MOST_LINES, MOST_CHARACTERS = 10, 1200


@dataclass(frozen=True)
class Given:
    """A run, a training, and the images of the training."""

    run: Outcome
    training: TrainingReport
    photos: Path
    root: Path

    @property
    def best(self) -> Path:
        return self.training.folder / "best.pt"


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Given:
    root = tmp_path_factory.mktemp("notebook")
    run = search(run_request(root, trials=14, latency_ms=15.0), on_progress=lambda _: None)
    photos = draw_pictures(root / "photos", count=35)
    spec = m.make_spec(m.loads(TINY), first=True, classes=3)
    training = m.train(spec, data=photos, epochs=1, output=root / "trained")
    return Given(run, training, photos, root)


def broken(given: Given) -> Path:
    path = given.root / "broken.yaml"
    path.write_text("mnv2search: 1\nname: <b>broken</b>\nblocks: [[6, 16, 1, 3]]\n")
    return path


def ranked(given: Given) -> Ranked:
    networks, unrelated = given.run.front[:4], Statistic(value=0.1, low=-0.5, high=0.6)
    return Ranked(
        networks=networks,
        weights=None,
        trained=(given.training.test,) * len(networks),
        epochs=1,
        recipe="short",
        kendall=unrelated,
        spearman=unrelated,
        by_madds=0.2,
    )


# What each function returns; three that need another process or hours of training are built by hand.
CASES: dict[str, Callable[[Given], object]] = {
    "run": lambda given: given.run,
    "search": lambda given: given.run.result,
    "load_run": lambda given: m.load_run(given.run.folder),
    "front": lambda given: given.run.front,
    "evaluation": lambda given: given.run.front[0],
    "read_records": lambda given: m.read_records(given.run.folder),
    "verify": lambda given: m.verify(given.run.folder),
    "repair_run": lambda given: m.repair_run(given.run.folder),
    "join_run": lambda _: WorkerResult(worker="here-12", run="mine", evaluated=3, status="finished"),
    "audit": ranked,
    "compile": lambda _: m.compile(NETWORK, no_fvcore=True),
    "describe_data": lambda given: m.describe_data(given.photos),
    "train": lambda given: given.training,
    "evaluate": lambda given: m.evaluate(given.best, data=given.photos),
    "predict": lambda given: m.predict(given.best, given.photos, output=given.root / "seen", force=True),
    "train_supernet": lambda given: m.train_supernet(
        str(tiny(given)), data=given.photos, output=given.root / "shared", epochs=1, fidelity="0.5x0.75"
    ),
    "scores": lambda given: m.scores(str(tiny(given)), score="synflow", networks=4),
    "check": lambda given: m.check(broken(given)),
    "costs": lambda _: m.costs([NETWORK, "mobilenet_v2_1.4_224"]),
    "cost_of": lambda _: m.cost_of(m.make_spec(NETWORK)),
    "make_spec": lambda _: m.make_spec(NETWORK),
    "load": lambda _: m.load("mnv2"),
    "plan": lambda _: m.plan(m.make_spec("ssdlite_mobilenet_v2")),
    "explain": lambda _: m.explain(NETWORK),
    "diff": lambda _: m.diff(NETWORK, "mobilenet_v2_1.4_224"),
    "measure": lambda _: m.measure([NETWORK], device=["simulated", "simulated:seed=2", "simulated:noise=9"]),
    "latency": lambda _: m.measure(NETWORK, device="simulated")[0].latency,
    "devices": lambda _: m.devices(),
    "audit_device": lambda _: m.audit_device("simulated", networks=12),
    "probe_device": lambda _: m.probe_device("simulated", time=1.0),
    "profile_device": lambda _: m.profile_device("simulated", space="tiny32", time=0.2),
    "catalog": lambda _: m.catalog(),
    "doctor": lambda _: m.doctor(),
    "list_weights": lambda given: m.list_weights(given.training.folder),
    "get_weights": lambda given: m.get_weights("best", folder=given.training.folder),
}


def tiny(given: Given) -> Path:
    path = given.root / "tiny.yaml"
    path.write_text(TINY)
    return path


def test_every_function_of_a_command_has_a_case() -> None:
    functions = {GENERATOR.function_of(name) for name in GENERATOR.leaves()} - {None}
    # a path, a server that runs until Ctrl-C, and a picture
    assert functions - CASES.keys() == {"write_report", "dashboard", "draw"}


@pytest.mark.parametrize("name", CASES)
def test_a_result_has_a_short_repr_and_tables(name: str, given: Given) -> None:
    value = CASES[name](given)
    assert isinstance(value, Displayed | Listing)
    assert len(repr(value).splitlines()) <= MOST_LINES
    assert len(repr(value)) <= MOST_CHARACTERS
    html = value._repr_html_()
    assert html.startswith('<div class="mnv2search">')
    assert "<td" in html or "<pre>" in html
    drawn = io.StringIO()
    Console(file=drawn, width=80).print(value)
    assert drawn.getvalue().strip()


def test_text_of_a_result_is_escaped(given: Given) -> None:
    html = m.check(broken(given))._repr_html_()
    assert "&lt;b&gt;" in html
    assert "<b>" not in html


def test_an_empty_listing_is_shown() -> None:
    assert repr(Listing[int]()) == "[]"
    assert "nothing" in Listing[int]()._repr_html_()


def test_a_search_is_plotted_and_saved(given: Given, tmp_path: Path) -> None:
    image = given.run.plot()
    assert image._repr_png_().startswith(b"\x89PNG")
    image.save(tmp_path / "front.png")
    assert (tmp_path / "front.png").read_bytes() == image
    assert repr(image) == f"<PNG image of {len(image):,} bytes>"


def test_a_search_without_a_front_is_not_plotted(given: Given) -> None:
    empty = replace(given.run.result, front=(), ship=None)
    with pytest.raises(OptionError, match="there is no front to plot"):
        empty.plot()


def test_a_frame_has_every_evaluated_network(given: Given) -> None:
    pytest.importorskip("pandas")
    frame, result = given.run.to_frame(), given.run.result
    assert len(frame) == len(result.front) + len(result.dominated) + len(result.baseline)
    assert list(frame["name"][: len(result.front)]) == [e.spec.name for e in result.front]
    assert frame.loc[0, "latency_ms"] == pytest.approx(result.front[0].latency.median_ms)  # type: ignore[union-attr]


def test_a_frame_without_pandas_says_what_to_install(given: Given, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingExtraError, match="needs the package pandas") as raised:
        given.run.to_frame()
    assert raised.value.hint == "pip install 'mnv2search[notebook]'"


def test_the_network_to_ship_is_that_of_the_search(given: Given) -> None:
    assert given.run.ship == given.run.result.ship

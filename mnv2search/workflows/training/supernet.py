"""Train a supernet for several searches."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from mnv2search.accuracy.evaluator import Preparation
from mnv2search.accuracy.evaluators.supernet import SupernetEvaluator
from mnv2search.errors import OptionError
from mnv2search.evaluation import Budget, no_report
from mnv2search.latency.device_text import device_text
from mnv2search.latency.prediction.cache import LatencyCache
from mnv2search.latency.registry import open_device
from mnv2search.results.training import SupernetReport
from mnv2search.spec.classes import space_with_classes
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.spec.space import Pick, SearchSpace, canonical, random_pick, resolve
from mnv2search.spec.yaml.codec import load_space
from mnv2search.study.deadline import seconds_of
from mnv2search.study.engine import Search
from mnv2search.study.types import Listener, Settings, Storage
from mnv2search.supernet.train import by_madds
from mnv2search.untrusted import file_name
from mnv2search.workflows.options import path_of
from mnv2search.workflows.weights import initial_weights

DEFAULT_TIME_S = 600.0
DRAWS = 1000
SHOWN = 5


def supernet_folder(space: str, output: str | Path | None) -> Path:
    """The folder of a training: `output`, or by default ``results/SPACE-supernet``."""
    return path_of(output) or Path("results") / file_name(f"{Path(space).stem}-supernet")


def train_supernet(
    space: str,
    *,
    data: str | Path,
    output: str | Path | None = None,
    time: float | str | None = None,
    epochs: int | None = None,
    fidelity: str = "auto",
    recipe: str = "auto",
    from_: Path | str | None = None,
    from_spec: str | None = None,
    latency_ms: float | None = None,
    device: str | Sequence[str] = "onnxruntime",
    precision: str | None = None,
    seed: int = 0,
    on_progress: Callable[[str, float], None] = lambda _doing, _share: None,
) -> SupernetReport:
    """Train the weights that all networks of a space share, or resume the training in the folder `output`.

    Args:
        space: file or bundled name of a search space.
        data: images to train on.
        output: folder of the training; ``results/SPACE-supernet`` by default.
        time: duration, in seconds or as text; 10 minutes without `epochs`.
        epochs: number of epochs, instead of `time`.
        fidelity: scale of widths and resolutions while training, such as ``0.5x0.75``; auto chooses by the time.
        recipe: name or file of the recipe; auto is ``supernet`` or, with `from_`, ``adapt``.
        from_: initial weights; see `RunOptions`.
        from_spec: network to which the published weights of `from_` belong.
        latency_ms: budget of a later search on `device`: some networks are measured, and only networks within the
            budget are trained; None trains all networks of the space.
        device: device of the budget; see `open_device`.
        precision: precision of weights and activations on the device; None takes that of the device.
        seed: random seed of the training.
        on_progress: called with the current activity and its progress from 0 to 1.

    Raises:
        OptionError: `time` and `epochs` are both given.
        SpecError: the space has problems.
        DataError: the images cannot be trained on.
        EvaluatorError: networks of the space cannot share weights, or the training fails.
        DeviceError: the device cannot be used.
    """
    time_s, folder = _seconds(time, epochs), supernet_folder(space, output)
    whole = load_space(space)
    initial = initial_weights(from_, from_spec, whole)
    evaluator = SupernetEvaluator(
        data=str(data),
        recipe=recipe,
        epochs=epochs or 0,
        fidelity=fidelity,
        folder=str(folder),
        weights="" if initial.path is None else str(initial.path),
        weights_spec=initial.spec,
    )
    whole = space_with_classes(whole, len(evaluator.dataset.classes))
    band = _drawn(whole, seed)
    asked = Preparation(space=whole, band=band, folder=folder, time_s=time_s, seed=seed, tell=on_progress)
    notes = _prepared(evaluator, asked, folder, device_text(device, precision), latency_ms)
    return _report(evaluator, asked, folder, notes if initial.path is None else (*initial.notes, *notes))


def _seconds(time: float | str | None, epochs: int | None) -> float | None:
    """Duration of the training in seconds; None if it is given in epochs."""
    if epochs is None:
        return seconds_of(time) or DEFAULT_TIME_S
    if time is not None:
        raise OptionError("time and epochs are both given", hint="give --time or --epochs")
    return None


def _drawn(space: SearchSpace, seed: int) -> tuple[Pick, ...]:
    """Random networks, cheapest first."""
    rng = random.Random(seed)
    return by_madds(space, sorted({canonical(space, random_pick(space, rng)) for _ in range(DRAWS)}))


def _report(evaluator: SupernetEvaluator, asked: Preparation, folder: Path, notes: tuple[str, ...]) -> SupernetReport:
    some = _some(asked.space, asked.band)
    return SupernetReport(
        folder=folder,
        shown=tuple((spec, evaluator.evaluate(spec, seed=asked.seed, report=no_report)) for spec in some),
        notes=notes,
        evaluator=evaluator.info.name,
    )


def _prepared(
    evaluator: SupernetEvaluator, asked: Preparation, folder: Path, device: str, latency_ms: float | None
) -> tuple[str, ...]:
    """Train networks of the space or, with a latency budget, networks within it; returns notes."""
    if latency_ms is None:
        return evaluator.prepare(asked)
    with open_device(device) as opened:
        search = Search(
            asked.space,
            device=opened,
            evaluator=evaluator,
            budget=Budget(latency_ms=latency_ms),
            settings=Settings(trials=1 if asked.time_s is None else None, time_s=asked.time_s, seed=asked.seed),
            listener=Listener(progress=lambda p: asked.tell(p.doing, p.share)),
            storage=Storage(cache=LatencyCache(), work=folder),
        )
        return search.prepare()


def _some(space: SearchSpace, picks: Sequence[Pick]) -> tuple[ModelSpec, ...]:
    places = [round(i * (len(picks) - 1) / (SHOWN - 1)) for i in range(SHOWN)]
    return tuple(
        replace(resolve(space, picks[place]), name=f"{space.name}-{place}") for place in dict.fromkeys(places)
    )

"""Training of a supernet before a search: scale, length, and initial weights."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from mnv2search.accuracy.evaluator import Preparation
from mnv2search.cost import MAX_COUNT, check_counts
from mnv2search.data.dataset import Dataset
from mnv2search.data.pixels import Pixels
from mnv2search.data.prepare import prepare
from mnv2search.errors import EvaluatorError, OptionError, TrainingError, WeightsError
from mnv2search.locking import folder_lock
from mnv2search.model.build import MobileNet
from mnv2search.model.elastic import ElasticNet
from mnv2search.recipe import Recipe
from mnv2search.spec.model_spec import square_side
from mnv2search.spec.plan import plan
from mnv2search.spec.space import Pick, SearchSpace, origins, resolve
from mnv2search.spec.yaml.codec import dumps, load_spec
from mnv2search.supernet.inheritance import inherit_shared, network_of
from mnv2search.supernet.nearest_subnet import likeness, nearest_subnet
from mnv2search.supernet.proxy_scale import FIDELITIES, WHOLE_WIDTHS, Choice, Fidelity, choose_fidelity, reduced
from mnv2search.supernet.train import (
    PASSES,
    SHRINKING_PASSES,
    Draw,
    Sandwich,
    Shrinking,
    step_rate,
    suited,
    train_supernet,
)
from mnv2search.training.checkpoint import read_json, write_whole
from mnv2search.training.learner import Job
from mnv2search.training.progress import Progress
from mnv2search.training.resumption import LAST

# With fewer images seen, the order of inherited accuracies is weak. See docs/explanation/shared-weights.md.
ENOUGH_IMAGES = 20_000
# The fidelity is lowered until this many images fit into the time.
WANTED_IMAGES = 25_000
# The same two numbers for given weights, which are adapted.
ENOUGH_TO_ADAPT, WANTED_TO_ADAPT = 5_000, 5_000
# Share of the preparation's time for adapting weights; the rest is better spent on evaluating more networks.
ADAPTING_SHARE = 0.75
# Passes over the images if no time is given.
EPOCHS = 20
# Share of the training's time for timing a few steps.
TIMING_SHARE = 0.03


STATE = "supernet.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """The state of a supernet's training; steps and images are 0 until the training ends.

    `epochs` are the expected passes over the images, and `side` is the side of the batches in px.
    """

    fidelity: Fidelity
    epochs: float
    side: int = 0
    steps: int = 0
    images: int = 0
    seconds: float = 0.0

    def __post_init__(self) -> None:
        if not (all(0 < share <= 1 for share in self.fidelity) and 0 < self.epochs < MAX_COUNT and self.seconds >= 0):
            raise ValueError("fidelity is from 0 to 1, epochs are above 0 and seconds are not negative")
        check_counts(side=self.side, steps=self.steps, images=self.images)


def read_state(folder: Path) -> State | None:
    """The state in a folder, or None; raises `TrainingError` if the file cannot be read."""
    return read_json(State, folder / STATE)


def is_trained(folder: Path) -> bool:
    """Whether a folder contains a supernet whose training is finished; raises as `read_state`."""
    state = read_state(folder)
    return state is not None and state.steps > 0 and (folder / LAST).exists()


def write_state(folder: Path, state: State) -> None:
    """Write the state to a folder; raises `TrainingError` if that fails."""
    write_whole(folder / STATE, (json.dumps(asdict(state)) + "\n").encode())


@dataclass(frozen=True, slots=True, kw_only=True)
class SupernetOptions:
    """Options of a supernet's training; see `SupernetEvaluator`.

    If `fidelity` is None, it is chosen by the time; if `epochs` is 0, the time limits the training; if `weights` is
    empty, the initial weights are random.
    """

    recipe: Recipe
    epochs: int
    fidelity: Fidelity | None
    weights: str
    weights_spec: str
    device: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedSupernet:
    """Shared weights, with the images for recalibrating batch norms (`train`) and for evaluation (`val`).

    `source` is the network of the initial weights; None if they were random.
    """

    net: ElasticNet
    state: State
    recipe: Recipe
    train: Pixels
    val: Pixels
    source: MobileNet | None
    notes: tuple[str, ...]


def given_network(options: SupernetOptions, space: SearchSpace) -> MobileNet | None:
    """The network of the initial weights; None if they are random.

    Raises:
        WeightsError: the weights do not fit their network.
        TrainingError: a file of ours cannot be read.
    """
    if not options.weights:
        return None
    spec = load_spec(options.weights_spec) if options.weights_spec else space.template
    return network_of(Path(options.weights), spec)


def prepare_supernet(
    space: SearchSpace, dataset: Dataset, options: SupernetOptions, preparation: Preparation, folder: Path
) -> TrainedSupernet:
    """Train the weights that all networks of a space share, or resume the training in a folder.

    Raises:
        EvaluatorError: networks of the space cannot share weights, or the training fails.
    """
    try:
        with ExitStack() as stack:
            if not is_trained(folder):
                lock = folder_lock(folder, busy="another training of a supernet", hint="give another folder")
                stack.enter_context(lock)
            return _Preparing(space, dataset, options, preparation).train(folder)
    except (TrainingError, OptionError, WeightsError) as error:
        raise EvaluatorError(f"supernet: {error.message}", hint=error.hint) from error


class _Preparing:
    def __init__(
        self, space: SearchSpace, dataset: Dataset, options: SupernetOptions, preparation: Preparation
    ) -> None:
        self.begin = time.monotonic()
        self.space, self.dataset, self.options, self.preparation = space, dataset, options, preparation
        self.band, self.seed = preparation.band, preparation.seed
        time_s = preparation.time_s
        self.time_s = time_s * ADAPTING_SHARE if time_s is not None and options.weights else time_s
        self.source = given_network(options, space)
        # the network of the space that is most similar to the network of the weights
        self.teacher = None if self.source is None else nearest_subnet(space, self.source.spec, band=self.band)

    def train(self, folder: Path) -> TrainedSupernet:
        known = read_state(folder)
        state = known or self._planned()
        prepared = prepare(
            self.dataset,
            side=state.side,
            recipe=self.options.recipe,
            splits=("train", "val"),
            on_progress=lambda done: self.preparation.tell(f"decoding images: {done:,}", 0.0),
        )
        pixels, recipe = prepared.examples["train"], suited(prepared.recipe, epochs=state.epochs)
        net = ElasticNet(self.space, change=lambda spec: reduced(spec, state.fidelity), seed=self.seed)
        inherited: tuple[str, ...] = ()
        draw: Draw = Sandwich(self.band)
        if self.source is not None and self.teacher is not None:
            inherited, draw = self._inherit(net, self.source, self.teacher), Shrinking(self.teacher, self.band)
        write_state(folder, state)
        done = train_supernet(
            net,
            pixels,
            recipe,
            draw,
            self._job(folder, max(1, len(pixels) // recipe.batch)),
            side=state.side,
            identity=self._identity(recipe, state),
        )
        is_new = not (known and known.steps)
        state = replace(state, steps=done.steps, images=done.images, seconds=state.seconds + done.seconds)
        write_state(folder, state)
        return TrainedSupernet(
            net=net,
            state=state,
            recipe=recipe,
            train=pixels,
            val=prepared.examples["val"],
            source=self.source,
            notes=(*inherited, *self._notes(state, is_new=is_new)),
        )

    def _planned(self) -> State:
        options, teacher = self.options, self.teacher
        fidelity, epochs = options.fidelity or Fidelity(), float(options.epochs or EPOCHS)
        if not options.epochs and self.time_s is not None:
            fidelity, images = self._timed(self.time_s)
            epochs = max(images, 1) / len(self.dataset.train)  # at least one batch is used
        trained: Sequence[Pick] = self.band if teacher is None else (*self.band, teacher)
        side = max(square_side(reduced(resolve(self.space, pick), fidelity)) for pick in trained)
        return State(fidelity=fidelity, epochs=epochs, side=side)

    def _timed(self, time_s: float) -> Choice:
        """Choose the fidelity, and the number of images that fit, by the time and the speed of a few steps."""
        space, options = self.space, self.options
        some = random.Random(self.seed).sample(list(self.band), min(32, len(self.band)))
        self.preparation.tell("timing a few steps", 0.0)
        offered, images, passes, picks = FIDELITIES, WANTED_IMAGES, float(PASSES), some
        if self.teacher is not None:
            offered, images, passes, picks = WHOLE_WIDTHS, WANTED_TO_ADAPT, SHRINKING_PASSES, [self.teacher]
        return choose_fidelity(
            [resolve(space, pick) for pick in picks],
            time_s=time_s,
            madds_per_s=step_rate(space, some, device=options.device, most_s=TIMING_SHARE * time_s),
            images=images,
            passes=passes,
            fidelities=offered if options.fidelity is None else (options.fidelity,),
        )

    def _inherit(self, net: ElasticNet, source: MobileNet, teacher: Pick) -> tuple[str, ...]:
        found = inherit_shared(net, source)
        like = likeness(plan(resolve(net.space, teacher)), plan(source.spec), rows=origins(net.space, teacher))
        return (
            f"initial weights: {100 * found.share:.0f} % of the shared parameters came from {self.options.weights}; "
            f"the network of the space most like theirs, with {100 * like:.0f} % of the weights in common, is "
            "adapted before others",
        )

    def _job(self, folder: Path, epoch_steps: int) -> Job:
        epochs, tell = self.options.epochs, self.preparation.tell
        left_s = None if self.time_s is None else max(self.time_s - (time.monotonic() - self.begin), 1.0)
        return Job(
            folder=folder,
            seed=self.seed,
            steps=(epochs or EPOCHS) * epoch_steps if epochs or left_s is None else None,
            device=self.options.device,
            time_s=None if epochs else left_s,
            on_progress=lambda p: tell(_progress_text(p), p.step / p.steps if p.steps else 0.0),
        )

    def _identity(self, recipe: Recipe, state: State) -> dict[str, str]:
        return {
            "space": dumps(self.space),
            "recipe": recipe.dumps(),
            "images": self.dataset.fingerprint,
            "fidelity": str(state.fidelity),
            "weights": self.options.weights,
            "seed": str(self.seed),
        }

    def _notes(self, state: State, *, is_new: bool) -> list[str]:
        notes = [f"the supernet saw {state.images:,} images at {state.fidelity}, {state.seconds:.0f} s of training"]
        enough = ENOUGH_TO_ADAPT if self.options.weights else ENOUGH_IMAGES
        if state.images < enough:
            more = "give more --time" if is_new else "to train it further, start over (--force) with more --time"
            notes.append(f"fewer than {enough:,} images: the order of its networks is weak evidence; {more}")
        return notes


def _progress_text(progress: Progress) -> str:
    total = f" of {progress.steps}" if progress.steps else ""
    return (
        f"training the supernet: step {progress.step}{total}, loss {progress.loss:.3f}, "
        f"{progress.images_per_s:.0f} images/s"
    )

"""Accuracy with inherited weights: one training for all networks of a space, then each evaluated with its part."""

from __future__ import annotations

import math
import random
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from itertools import islice
from pathlib import Path

from mnv2search.accuracy.evaluators.supernet_state import State, is_trained, read_state, write_state
from mnv2search.accuracy.types import Accuracy, Evaluator, EvaluatorInfo, Method, Preparation, Report, changed_options
from mnv2search.data.image_batches import Cutting, training_batches
from mnv2search.data.images import ImageSet, read_image_set
from mnv2search.data.pixels import Pixels
from mnv2search.data.prefetch import Feed
from mnv2search.data.prepare import image_folder, prepare
from mnv2search.errors import EvaluatorError, OptionError, TrainingError, WeightsError
from mnv2search.locking import folder_lock
from mnv2search.model.build import MobileNet
from mnv2search.model.elastic import ElasticNet, located
from mnv2search.model.weights.saved import Learned
from mnv2search.recipe import Recipe, load_recipe
from mnv2search.spec.classes import space_with_classes, with_classes
from mnv2search.spec.model_spec import ModelSpec, square_side
from mnv2search.spec.plan import plan
from mnv2search.spec.space import Pick, SearchSpace, origins, pick_of, resolve
from mnv2search.spec.yaml.codec import dumps, load_spec
from mnv2search.supernet.inherit_shared import inherit_shared
from mnv2search.supernet.initial_weights import network_of
from mnv2search.supernet.nearest_subnet import closest_pick, likeness
from mnv2search.supernet.proxy_scale import FIDELITIES, WHOLE_WIDTHS, Fidelity, chosen, reduced
from mnv2search.supernet.recalibrate import recalibrated
from mnv2search.supernet.sandwich import PASSES, SHRINKING_PASSES, Sandwich, Shrinking, step_rate, suited
from mnv2search.supernet.train import Draw, train_supernet
from mnv2search.training.distributed import own_device
from mnv2search.training.loop import Figures, Progress, evaluate

__all__ = ["ENOUGH_IMAGES", "SupernetEvaluator"]

# From random weights, and from given ones, which a high rate would undo.
RECIPE, FROM_WEIGHTS = "supernet", "adapt"
# Before so many images are seen, the order of inherited accuracies is weak. See docs/explanation/shared-weights.md.
ENOUGH_IMAGES = 20_000
# What the fidelity is chosen for: more images at less fidelity, until there are so many.
WANTED_IMAGES = 25_000
# The same where weights are given, which are adapted rather than learned.
ENOUGH_TO_ADAPT, WANTED_TO_ADAPT = 5_000, 5_000
# Of the time for preparation, what adapting takes; the rest is better spent on evaluating more networks.
ADAPTING_SHARE = 0.75
# Without a time, the training sees the images so often.
EPOCHS = 20
RECALIBRATION_IMAGES = 256
# Of the time of a training, for a few passes that tell how fast it will be.
TIMING_SHARE = 0.03
AUTO = "auto"


class SupernetEvaluator(Evaluator):
    """Trains weights that all networks of a space share, and evaluates each with its part of them.

    The test images of the set play no part. Accuracies are of kind ``inherited``: they rank networks, and are not
    what a network reaches when it is trained on its own.

    Args:
        data: path of the images; see `mnv2search.data.images.read_image_set`.
        recipe: name or path of one; ``auto`` takes ``supernet`` or, with first weights, ``adapt``.
        epochs: passes over the images, in place of the time that the search allows; 0 takes the time.
        fidelity: what width and resolution are multiplied by while training, such as ``0.5x0.75``; ``auto`` chooses
            by the time.
        folder: of a supernet that `mnv2search supernet` trained, or began to; empty trains one for the search.
        weights: first weights: a `.pt` file of ours with any network of as many rows or stages, or published ones;
            empty begins with random ones.
        weights_spec: the network that published weights belong to; empty takes the name of the space.
    """

    method: Method = "shared weights"
    can_finetune: bool = True

    def __init__(
        self,
        *,
        data: str,
        recipe: str = AUTO,
        epochs: int = 0,
        fidelity: str = AUTO,
        folder: str = "",
        weights: str = "",
        weights_spec: str = "",
    ) -> None:
        if epochs < 0:
            raise OptionError(f"evaluator supernet: epochs is {epochs}", hint="use 1 or more, or 0 for the time")
        if weights and not Path(weights).is_file():
            raise OptionError(f"{weights} is not a file", hint="check the path of the first weights")
        self._data, self._recipe_name, self._epochs, self._fidelity_text = data, recipe, epochs, fidelity
        self._recipe = load_recipe((FROM_WEIGHTS if weights else RECIPE) if recipe == AUTO else recipe)
        self._fidelity = _parsed(fidelity)
        self._folder = folder
        self._weights, self._weights_spec = weights, weights_spec
        self._images = read_image_set(Path(data), unpack_to=image_folder())
        self._net: ElasticNet | None = None
        self._state: State | None = None
        self._used = self._recipe
        self._device = own_device()

    @property
    def info(self) -> EvaluatorInfo:
        """What the accuracies mean."""
        images = self._images
        changed = changed_options(
            recipe=(self._recipe_name, AUTO),
            epochs=(str(self._epochs), "0"),
            fidelity=(self._fidelity_text, AUTO),
            folder=(self._folder, ""),
            weights=(self._weights, ""),
            weights_spec=(self._weights_spec, ""),
        ).removesuffix(",")
        seen = "" if self._state is None else f"; it saw {self._state.images:,} images at {self._state.fidelity}"
        return EvaluatorInfo(
            name=f"supernet:data={self._data}{',' if changed else ''}{changed}",
            version=f"1-{images.fingerprint}",
            kind="inherited",
            dataset=Path(self._data).name,
            metric="top1",
            classes=len(images.classes),
            detail=(
                f"weights shared by all networks, trained on {len(images.train)} images, evaluated on "
                f"{len(images.val)} held-out ones, ordered by the loss on them{seen}"
            ),
        )

    @property
    def fidelity(self) -> Fidelity:
        """Of the trained networks.

        Raises:
            EvaluatorError: nothing is trained yet.
        """
        return self._trained()[1].fidelity

    def is_full_size(self) -> bool:
        """Whether its networks are trained as large as they are.

        Raises:
            EvaluatorError: nothing is trained yet.
        """
        return self.fidelity.is_full

    @property
    def dataset(self) -> ImageSet:
        """The images, in their parts."""
        return self._images

    @property
    def learned(self) -> Learned:
        """What goes with its weights: the classes, and how images were normalised."""
        return Learned(classes=self._images.classes, normalization=self._recipe.normalization)

    def prepare(self, preparation: Preparation) -> tuple[str, ...]:
        """Train the shared weights, or go on where the folder says that a training stopped.

        Raises:
            EvaluatorError: the space has networks that cannot share weights, or the training fails.
        """
        begin = time.monotonic()
        space = space_with_classes(preparation.space, len(self._images.classes))
        band = preparation.band
        time_s = preparation.time_s
        if time_s is not None and self._weights:
            time_s *= ADAPTING_SHARE
        with ExitStack() as stack:
            own = Path(self._folder) if self._folder else preparation.folder
            folder = own or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mnv2search-")))
            try:
                if not is_trained(folder):
                    lock = folder_lock(folder, busy="another training of a supernet", hint="give another folder")
                    stack.enter_context(lock)
                source = self._source(space)
                teacher = None if source is None else closest_pick(space, source.spec, band=band)
                known = read_state(folder)
                state = known or self._planned(space, band, preparation, time_s, teacher)
                parts = prepare(
                    self._images,
                    side=state.side,
                    recipe=self._recipe,
                    splits=("train", "val"),
                    on_progress=lambda done: preparation.tell(f"decoding images: {done:,}", 0.0),
                )
                pixels, recipe = parts.parts["train"], suited(parts.recipe, epochs=state.epochs)
                net = ElasticNet(space, change=lambda spec: reduced(spec, state.fidelity), seed=preparation.seed)
                inherited: tuple[str, ...] = ()
                draw: Draw = Sandwich(band)
                if source is not None and teacher is not None:
                    inherited, draw = self._inherit(net, source, teacher), Shrinking(teacher, band)
                write_state(folder, state)
                left_s = None if time_s is None else time_s - (time.monotonic() - begin)
                done = train_supernet(
                    net,
                    pixels,
                    recipe,
                    draw,
                    side=state.side,
                    folder=folder,
                    job=self._job(space, recipe, state, preparation.seed),
                    seed=preparation.seed,
                    steps=self._steps(pixels, recipe, preparation),
                    device=self._device,
                    time_s=None if self._epochs or left_s is None else max(left_s, 1.0),
                    on_progress=lambda p: preparation.tell(_told(p), p.step / p.steps if p.steps else 0.0),
                )
                is_new = not (known and known.steps)
                state = replace(state, steps=done.steps, images=done.images, seconds=state.seconds + done.seconds)
                write_state(folder, state)
            except (TrainingError, OptionError, WeightsError) as error:
                raise EvaluatorError(f"supernet: {error.message}", hint=error.hint) from error
        self._net, self._state, self._used = net, state, recipe
        self._held_out, self._calibration = parts.parts["val"], pixels
        return (*inherited, *self._notes(state, is_new=is_new))

    def evaluate(self, spec: ModelSpec, *, seed: int, report: Report) -> Accuracy:
        """The accuracy with inherited weights, batch norms recalibrated, with the interval of so many images.

        Its merit is the geometric mean of the probabilities given to the right classes, a function of the loss: they
        order networks with less noise than how often the right class comes first.

        Raises:
            EvaluatorError: the network is not one of the space, or nothing is trained yet.
        """
        model = self.member(spec)
        figures = self._figures(model)
        report(1, figures.top1)
        low, high = figures.interval
        info, fidelity = self.info, self.fidelity
        return Accuracy(
            value=figures.top1,
            low=low,
            high=high,
            metric=info.metric,
            kind=info.kind,
            dataset=info.dataset,
            seed=seed,
            note="" if fidelity.is_full else f"with inherited weights at {fidelity}",
            merit=math.exp(-figures.loss),
            commonest=figures.commonest,
        )

    def member(self, spec: ModelSpec) -> MobileNet:
        """A network with its part of the weights at the fidelity of the training, in evaluation mode.

        Raises:
            EvaluatorError: it is not one of the space, or nothing is trained yet.
        """
        net, _ = self._trained()
        pick = pick_of(net.space, with_classes(spec, len(self._images.classes)))
        if pick is None:
            raise EvaluatorError(
                f"{spec.name} is not one of the space {net.space.name} whose weights were trained",
                hint="evaluate networks of that space only",
            )
        placed = located(net.space, pick, change=lambda found: replace(net.change(found), name=spec.name))
        model = net.member(placed)
        side = square_side(placed.plan.spec)
        cutting = replace(
            self._cutting(side),
            least_area=self._used.least_area,
            mirror=self._used.mirror,
            shift_px=self._used.shift_px,
        )
        batch = min(RECALIBRATION_IMAGES, len(self._calibration)) // 2
        with closing(
            training_batches(self._calibration, cutting, batch=batch, seed=0, epoch=0, feed=Feed(ahead=0))
        ) as batches:
            recalibrated(model.to(self._device), (found.images.to(self._device) for found in islice(batches, 2)))
        return model

    # -- parts of a preparation ----------------------------------------------------------------------------------

    def _source(self, space: SearchSpace) -> MobileNet | None:
        """The network whose weights were given."""
        if not self._weights:
            return None
        spec = load_spec(self._weights_spec) if self._weights_spec else space.template
        return network_of(Path(self._weights), spec)

    def _planned(
        self,
        space: SearchSpace,
        band: Sequence[Pick],
        preparation: Preparation,
        time_s: float | None,
        teacher: Pick | None,
    ) -> State:
        """Fidelity and length as asked, or by what a few steps say of the speed of this machine."""
        fidelity, epochs = self._fidelity or Fidelity(), float(self._epochs or EPOCHS)
        if not self._epochs and time_s is not None:
            some = random.Random(preparation.seed).sample(list(band), min(32, len(band)))
            preparation.tell("timing a few steps", 0.0)
            offered = FIDELITIES if teacher is None else WHOLE_WIDTHS
            found = chosen(
                [resolve(space, pick) for pick in (some if teacher is None else [teacher])],
                time_s=time_s,
                madds_per_s=step_rate(space, some, device=self._device, most_s=TIMING_SHARE * time_s),
                images=WANTED_IMAGES if teacher is None else WANTED_TO_ADAPT,
                passes=PASSES if teacher is None else SHRINKING_PASSES,
                fidelities=offered if self._fidelity is None else (self._fidelity,),
            )
            # however little time there is, one batch is learned from
            fidelity, epochs = found.fidelity, max(found.images, 1) / len(self._images.train)
        trained = band if teacher is None else (*band, teacher)
        side = max(square_side(reduced(resolve(space, pick), fidelity)) for pick in trained)
        return State(fidelity=fidelity, epochs=epochs, side=side)

    def _inherit(self, net: ElasticNet, source: MobileNet, teacher: Pick) -> tuple[str, ...]:
        """Begin with the weights that were given; says how many came over, and where they are at home."""
        found = inherit_shared(net, source)
        like = likeness(plan(resolve(net.space, teacher)), plan(source.spec), rows=origins(net.space, teacher))
        return (
            f"first weights: {found.share:.0%} of the shared parameters came from {self._weights}; the network of "
            f"the space that is most like theirs, with {like:.0%} of the weights in common, is adapted before others",
        )

    def _steps(self, pixels: Pixels, recipe: Recipe, preparation: Preparation) -> int | None:
        if not self._epochs and preparation.time_s is not None:
            return None
        return (self._epochs or EPOCHS) * max(1, len(pixels) // recipe.batch)

    def _job(self, space: SearchSpace, recipe: Recipe, state: State, seed: int) -> dict[str, str]:
        return {
            "space": dumps(space),
            "recipe": recipe.dumps(),
            "images": self._images.fingerprint,
            "fidelity": str(state.fidelity),
            "weights": self._weights,
            "seed": str(seed),
        }

    def _notes(self, state: State, *, is_new: bool) -> tuple[str, ...]:
        notes = [f"the supernet saw {state.images:,} images at {state.fidelity}, {state.seconds:.0f} s of training"]
        enough = ENOUGH_TO_ADAPT if self._weights else ENOUGH_IMAGES
        if state.images < enough:
            more = "give more --time" if is_new else "to train it further, begin anew (--force) with more --time"
            notes.append(f"fewer than {enough:,} images: the order of its networks is weak evidence; {more}")
        return tuple(notes)

    def _figures(self, model: MobileNet) -> Figures:
        return evaluate(model, self._held_out, self._cutting(square_side(model.spec)), device=self._device)

    def _cutting(self, side: int) -> Cutting:
        return Cutting(side=side, normalization=self._recipe.normalization)

    def _trained(self) -> tuple[ElasticNet, State]:
        if self._net is None or self._state is None:
            raise EvaluatorError("the supernet is not trained yet", hint="prepare it for a space first")
        return self._net, self._state


def _parsed(text: str) -> Fidelity | None:
    if text == AUTO:
        return None
    width, by, resolution = text.partition("x")
    try:
        found = Fidelity(float(width), float(resolution if by else width))
    except ValueError:
        found = Fidelity(0.0, 0.0)
    if not (0 < found.width <= 1 and 0 < found.resolution <= 1):
        raise OptionError(
            f"evaluator supernet: fidelity is {text!r}",
            hint="write auto, or factors above 0 and at most 1 of width and resolution, such as 0.5x0.75",
        )
    return found


def _told(progress: Progress) -> str:
    total = f" of {progress.steps}" if progress.steps else ""
    return (
        f"training the supernet: step {progress.step}{total}, loss {progress.loss:.3f}, "
        f"{progress.images_per_s:.0f} images/s"
    )

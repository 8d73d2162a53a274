"""Accuracy with inherited weights, from one training for all networks of a space."""

from __future__ import annotations

import math
import tempfile
from contextlib import ExitStack, closing
from dataclasses import replace
from itertools import islice
from pathlib import Path

from mnv2search.accuracy.evaluator import Evaluator, Method, Preparation, Report, changed_options
from mnv2search.accuracy.evaluators.supernet_sharing import shared_content, shared_supernet
from mnv2search.accuracy.evaluators.supernet_training import (
    SupernetOptions,
    TrainedSupernet,
    given_network,
    prepare_supernet,
)
from mnv2search.accuracy.types import Accuracy, EvaluatorInfo, accuracy_of
from mnv2search.data.batches import Epoch, Feed, training_batches
from mnv2search.data.dataset import Dataset
from mnv2search.data.reading import image_folder, read_dataset
from mnv2search.data.transforms import Transform
from mnv2search.errors import EvaluatorError, OptionError
from mnv2search.model.build import MobileNet, build
from mnv2search.model.elastic import located
from mnv2search.model.weights.network_file import Learned
from mnv2search.recipe import load_recipe
from mnv2search.spec.classes import space_with_classes, with_classes
from mnv2search.spec.model_spec import ModelSpec, square_side
from mnv2search.spec.space import SearchSpace, pick_of
from mnv2search.spec.yaml.codec import load_spec
from mnv2search.supernet.inheritance import corresponds, inherit
from mnv2search.supernet.proxy_scale import Fidelity
from mnv2search.supernet.train import PASSES, recalibrate
from mnv2search.tasks.classification import Classification, classify
from mnv2search.training.distributed import own_device

# Recipes from random weights, and from given weights, which a high learning rate would destroy.
RECIPE, FROM_WEIGHTS = "supernet", "adapt"
RECALIBRATION_IMAGES = 256
AUTO = "auto"


class SupernetEvaluator(Evaluator):
    """Trains weights that all networks of a space share, and evaluates each network with its part of the weights.

    The test images are not used. Accuracies are of kind ``inherited``: they rank networks, and differ from the
    accuracies of separately trained networks.

    Args:
        data: path of the images; see `mnv2search.data.reading.read_dataset`.
        recipe: name or path of a recipe; ``auto`` takes ``supernet`` or, with initial weights, ``adapt``.
        epochs: passes over the images; 0 trains for the time that the search allows.
        fidelity: scale of width and resolution during training, such as ``0.5x0.75``; ``auto`` chooses by the time.
        folder: folder of a supernet from `mnv2search supernet`; empty trains a supernet for the search.
        weights: initial weights: a `.pt` file of ours with any network of as many rows or groups of rows, or
            published ones; empty for random weights.
        weights_spec: the network that published weights belong to; empty takes the name of the space.
    """

    method: Method = "shared weights"
    can_finetune: bool = True
    can_share_weights: bool = True
    task = Classification()
    dataset: Dataset

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
            raise OptionError(f"{weights} is not a file", hint="check the path of the initial weights")
        self._data, self._recipe_name, self._fidelity_text, self._folder = data, recipe, fidelity, folder
        self._options = SupernetOptions(
            recipe=load_recipe((FROM_WEIGHTS if weights else RECIPE) if recipe == AUTO else recipe),
            epochs=epochs,
            fidelity=_parsed(fidelity),
            weights=weights,
            weights_spec=weights_spec,
            device=own_device(),
        )
        self.dataset = read_dataset(Path(data), "classification", unpack_to=image_folder())
        self._supernet: TrainedSupernet | None = None

    @property
    def info(self) -> EvaluatorInfo:
        """Meaning of the accuracies."""
        dataset, options = self.dataset, self._options
        changed = changed_options(
            recipe=(self._recipe_name, AUTO),
            epochs=(str(options.epochs), "0"),
            fidelity=(self._fidelity_text, AUTO),
            folder=(self._folder, ""),
            weights=(options.weights, ""),
            weights_spec=(options.weights_spec, ""),
        ).removesuffix(",")
        state = None if self._supernet is None else self._supernet.state
        seen = "" if state is None else f"; the shared weights saw {state.images:,} images at {state.fidelity}"
        return EvaluatorInfo(
            name=f"supernet:data={self._data}{',' if changed else ''}{changed}",
            version=f"1-{dataset.fingerprint}",
            kind="inherited",
            dataset=Path(self._data).name,
            metric="top1",
            classes=len(dataset.classes),
            detail=(
                f"weights shared by all networks, trained on {len(dataset.train):,} images, evaluated on "
                f"{len(dataset.val):,} validation images, ordered by the loss on them{seen}"
            ),
        )

    @property
    def fidelity(self) -> Fidelity:
        """The scale of the trained networks; raises `EvaluatorError` if nothing is trained yet."""
        return self._trained().state.fidelity

    def is_full_size(self) -> bool:
        """Whether the networks are trained at their own width and resolution; raises as `fidelity`."""
        return self.fidelity.is_full

    def prepare(self, preparation: Preparation) -> tuple[str, ...]:
        """Train the shared weights, or resume their training."""
        space = space_with_classes(preparation.space, len(self.dataset.classes))
        with ExitStack() as stack:
            own = Path(self._folder) if self._folder else preparation.folder
            folder = own or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mnv2search-")))
            self._supernet = prepare_supernet(space, self.dataset, self._options, preparation, folder)
        return self._supernet.notes

    def shared_weights(self) -> bytes:
        """The shared weights, with the state of their training."""
        return shared_content(self._trained(), self.dataset)

    def use_shared_weights(self, space: SearchSpace, content: bytes) -> None:
        """Evaluate with shared weights of another process; networks outside the space have no weights."""
        fitted = space_with_classes(space, len(self.dataset.classes))
        self._supernet = shared_supernet(fitted, self.dataset, self._options, content)

    def evaluate(self, spec: ModelSpec, *, seed: int, report: Report) -> Accuracy:
        """The accuracy with inherited weights and recalibrated batch norms.

        The merit, the geometric mean of the probabilities of the correct classes, ranks networks with less noise.
        """
        model, supernet = self.member(spec), self._trained()
        transform = Transform(side=square_side(model.spec), normalization=supernet.recipe.normalization)
        metrics = classify(model.eval(), supernet.val, transform, device=self._options.device)
        report(1, metrics.main.value)
        assert metrics.loss is not None
        note = "" if self.fidelity.is_full else f"with inherited weights at {self.fidelity}"
        merit, dataset = math.exp(-metrics.loss), Path(self._data).name
        return accuracy_of(metrics, kind="inherited", dataset=dataset, seed=seed, note=note, merit=merit)

    def given(self, space: SearchSpace) -> ModelSpec | None:
        """The network that the initial weights belong to; None if they are random."""
        options = self._options
        if options.weights_spec and options.weights:
            return load_spec(options.weights_spec)
        source = given_network(options, space)
        return None if source is None else source.spec

    def begin(self, spec: ModelSpec, *, seed: int) -> MobileNet:
        """The network with its part of the shared weights or, if it is outside the space, of the given weights."""
        model, supernet = build(spec, seed=seed), self._trained()
        pick = pick_of(supernet.net.space, with_classes(spec, len(self.dataset.classes)))
        source = supernet.source if pick is None else self.member(spec).cpu()
        if source is not None and corresponds(spec, source.spec):
            inherit(model, source)
        return model

    def seen_images(self, spec: ModelSpec) -> float:
        """Images seen in the shared training divided by the networks of a step; 0 for a network outside the space."""
        supernet = self._trained()
        pick = pick_of(supernet.net.space, with_classes(spec, len(self.dataset.classes)))
        return 0.0 if pick is None else supernet.state.images / PASSES

    def learned_of(self, spec: ModelSpec) -> Learned:
        """Metadata of the shared weights, as `spec` is evaluated."""
        supernet = self._trained()
        return self.task.learned(spec, supernet.val, self.dataset.classes, supernet.recipe.normalization)

    def member(self, spec: ModelSpec) -> MobileNet:
        """A network with its part of the shared weights, at the fidelity of the training, in evaluation mode."""
        supernet, device = self._trained(), self._options.device
        net, pixels = supernet.net, supernet.train
        pick = pick_of(net.space, with_classes(spec, len(self.dataset.classes)))
        if pick is None:
            raise EvaluatorError(
                f"{spec.name} is not one of the space {net.space.name} whose weights were trained",
                hint="evaluate networks of that space only",
            )
        placed = located(net.space, pick, change=lambda found: replace(net.change(found), name=spec.name))
        model = net.member(placed).to(device)
        transform = Transform.of(supernet.recipe, square_side(placed.plan.spec))
        batch = min(RECALIBRATION_IMAGES, len(pixels)) // 2
        epoch = Epoch(batch=batch, seed=0, number=0, feed=Feed(ahead=0))
        with closing(training_batches(pixels, transform, epoch)) as batches:
            recalibrate(model, (found.images.to(device) for found in islice(batches, 2)))
        return model

    def _trained(self) -> TrainedSupernet:
        if self._supernet is None:
            raise EvaluatorError("the supernet is not trained yet", hint="prepare it for a space first")
        return self._supernet


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

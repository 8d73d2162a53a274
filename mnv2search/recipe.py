"""Recipes: the settings of a training, as flat YAML files."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import yaml

from mnv2search.errors import DataError, Problem, SpecError, UnknownNameError
from mnv2search.spec.rules import Checked, Pattern, Range, rules_of
from mnv2search.spec.yaml.fields import scalar_of
from mnv2search.spec.yaml.source import MAX_BYTES, Table, Text, decoded, parse
from mnv2search.untrusted import UnsafeFileError, read_bytes

FOLDER = Path(__file__).parent / "recipes"
# Mean and standard deviation of each channel by name, for values from 0 to 1.
NORMALIZATIONS: dict[str, tuple[tuple[float, float, float], tuple[float, float, float]]] = {
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "tensorflow": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "unit": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe(Checked):
    """The settings of a training.

    Attributes:
        name: name of the file without its suffix.
        optimizer: ``sgd`` with Nesterov momentum, ``adamw``, or ``rmsprop-tf`` (TensorFlow's RMSProp, with epsilon
            inside the root and the learning rate inside the momentum).
        lr: peak learning rate for a batch of `lr_batch`; scaled in proportion to the batch.
        lr_batch: batch for which `lr` is stated.
        momentum: momentum of ``sgd`` and ``rmsprop-tf``.
        rms_decay: decay of the mean of squares of ``rmsprop-tf``.
        epsilon: epsilon of ``adamw`` and ``rmsprop-tf``.
        schedule: ``cosine`` to 0, or ``exponential``, which multiplies by `decay_rate` every `decay_epochs`.
        decay_rate: factor of the exponential schedule.
        decay_epochs: interval of the exponential schedule, in epochs.
        warmup_epochs: number of epochs in which the learning rate rises from 0.
        weight_decay: weight decay of convolutions and the classifier, but not of depthwise weights, norms and biases.
        batch: images per step.
        epochs: passes over the images.
        label_smoothing: share of the target that is spread over all classes.
        ema: decay of the moving average of the weights, which is evaluated and kept; 0 keeps the weights themselves.
        clip_norm: maximum norm of the gradient; 0 does not clip.
        dropout: dropout rate before the classifier; ``null`` takes the spec's.
        least_area: minimum share of an image that a random crop keeps; 1 takes the centre.
        mirror: whether half of the images are flipped horizontally.
        zoom_out: largest factor by which images with boxes or masks are shrunk; the rest of the canvas has the mean
            colour of the image. 1 is off.
        mosaic: share of the batches whose images are tiled, two by two, before the crop; 0 is off.
        shift_px: padding in px before a random crop of the original size, which replaces the crop of a random area;
            0 is off.
        randaugment: number of RandAugment operations on each image.
        magnitude: magnitude of these operations, 0 to 30.
        mixup: alpha of mixup; 0 is off.
        class_weights: weights of the classes in the loss: ``none``; ``inverse``, in proportion to 1 / n for a class
            of n training images; or ``sqrt``, in proportion to the square root of 1 / n. The mean weight of a
            training image is 1.
        patience: number of epochs without a better validation metric after which the training ends; 0 is off.
        normalization: normalisation of the images: ``imagenet``, ``tensorflow`` (-1 to 1) or ``unit`` (0 to 1).
    """

    name: Annotated[str, Pattern(r"[\s\S]*", "")] = "custom"
    optimizer: Literal["sgd", "adamw", "rmsprop-tf"] = "sgd"
    lr: Annotated[float, Range(1e-8, 100)] = 0.1
    lr_batch: Annotated[int, Range(1, 65536)] = 256
    momentum: Annotated[float, Range(0, 0.999)] = 0.9
    rms_decay: Annotated[float, Range(0, 0.9999)] = 0.9
    epsilon: Annotated[float, Range(1e-12, 10)] = 1e-8
    schedule: Literal["cosine", "exponential"] = "cosine"
    decay_rate: Annotated[float, Range(0.01, 1)] = 0.98
    decay_epochs: Annotated[float, Range(0.01, 1000)] = 1.0
    warmup_epochs: Annotated[float, Range(0, 1000)] = 0.0
    weight_decay: Annotated[float, Range(0, 1)] = 4e-5
    batch: Annotated[int, Range(2, 65536)] = 64
    epochs: Annotated[int, Range(1, 100_000)] = 100
    label_smoothing: Annotated[float, Range(0, 0.9)] = 0.0
    ema: Annotated[float, Range(0, 0.999999)] = 0.0
    clip_norm: Annotated[float, Range(0, 1e6)] = 0.0
    dropout: Annotated[float, Range(0, 0.95)] | None = None
    least_area: Annotated[float, Range(0.01, 1)] = 0.25
    mirror: bool = True
    zoom_out: Annotated[float, Range(1, 8)] = 1.0
    mosaic: Annotated[float, Range(0, 1)] = 0.0
    shift_px: Annotated[int, Range(0, 64)] = 0
    randaugment: Annotated[int, Range(0, 10)] = 0
    magnitude: Annotated[int, Range(0, 30)] = 9
    mixup: Annotated[float, Range(0, 10)] = 0.0
    class_weights: Literal["none", "sqrt", "inverse"] = "none"
    patience: Annotated[int, Range(0, 100_000)] = 0
    normalization: Literal["imagenet", "tensorflow", "unit"] = "imagenet"

    def __post_init__(self) -> None:
        try:
            Checked.__post_init__(self)
        except SpecError as error:
            raise SpecError([replace(one, message=f"recipe: {one.message}") for one in error.diagnostics]) from None

    def dumps(self) -> str:
        """The recipe as YAML, with every value."""
        return yaml.safe_dump({k: v for k, v in asdict(self).items() if k != "name"}, sort_keys=False)


def recipe_names() -> tuple[str, ...]:
    """The names of the shipped recipes."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.yaml")))


def load_recipe(path_or_name: str) -> Recipe:
    """A shipped recipe by name, or a recipe from a file.

    >>> load_recipe("slim").optimizer
    'rmsprop-tf'

    Raises:
        UnknownNameError: no shipped recipe has this name.
        SpecError: the file has errors; each is listed with its position.
    """
    path = Path(path_or_name)
    if path_or_name not in recipe_names() and path.is_dir():
        raise DataError(f"{path} is a folder", hint="give the name of a recipe or a YAML file")
    if path.suffix not in (".yaml", ".yml"):
        if path_or_name not in recipe_names():
            raise UnknownNameError("recipe", path_or_name, recipe_names())
        path = FOLDER / f"{path_or_name}.yaml"
    try:
        data = read_bytes(path, max_bytes=MAX_BYTES)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}", hint="check the path") from error
    except UnsafeFileError as error:
        raise DataError(f"{path} cannot be read: {error}", hint="give a recipe, a YAML file") from error
    return recipe_of(decoded(data, file=str(path)), file=str(path), name=path.stem)


def recipe_of(text: str, *, file: str = "recipe", name: str = "custom") -> Recipe:
    """The recipe of a YAML text; keys that are left out have their defaults.

    Raises:
        SpecError: the text has errors; each is listed with its position in `file`.
    """
    source, node = parse(text, file=file)
    values: dict[str, object] = {"name": name}
    known = sorted(rules_of(Recipe).keys() - {"name"})
    if not isinstance(node, Table):
        source.add((1, 1), "a recipe is a table of keys and values", "write lines such as `lr: 0.1`")
    for key, value in node.entries if isinstance(node, Table) else ():
        place = (key.line, key.column)
        if key.text not in known:
            source.add(place, f"a recipe has no {key.text!r}", f"it has {', '.join(known)}")
        elif not isinstance(value, Text):
            source.add(place, f"{key.text} is one value", "write a number or a word")
        else:
            found = scalar_of(Recipe, key.text, "none" if value.text == "null" else value.text, is_plain=True)
            if isinstance(found, Problem):
                source.add((value.line, value.column), found.what, found.fix)
            else:
                values[key.text] = found
    source.refuse()
    return msgspec.convert(values, Recipe)

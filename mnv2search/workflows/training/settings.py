"""The settings of a training in its folder, with which it resumes without its arguments."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal, get_args

from mnv2search.errors import RecordError
from mnv2search.recipe import Recipe, recipe_of
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.spec.yaml.codec import dumps, loads
from mnv2search.training.distributed import Team
from mnv2search.training.precision import Precision
from mnv2search.untrusted import UnsafeFileError, json_as, read_bytes
from mnv2search.workflows.training.request import KnownData, TrainingRequest

SETTINGS = "settings.json"
MAX_BYTES = 1 << 20
# Fields of a request that are stored as they are.
UNCHANGED = ("seed", "epochs", "time_s", "void", "precision")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Settings:
    """A `TrainingRequest` as text and numbers; specs and the recipe are YAML, and paths are absolute."""

    mnv2search_training: Literal[1] = 1
    spec: str
    data: str
    recipe: str
    recipe_name: str
    seed: int
    epochs: int | None
    time_s: float | None
    weights: str | None
    weights_spec: str | None
    teacher: str | None
    void: int
    precision: str | None
    fingerprint: str
    content: str


def settings_text(request: TrainingRequest, recipe: Recipe, data: KnownData) -> str:
    """The settings of a request, with its recipe and dataset, as JSON."""
    settings = _Settings(
        spec=dumps(request.spec),
        data=_absolute(request.data) or "",
        recipe=recipe.dumps(),
        recipe_name=recipe.name,
        weights=_absolute(request.weights),
        weights_spec=None if request.weights_spec is None else dumps(request.weights_spec),
        teacher=_absolute(request.teacher),
        **data._asdict(),
        **{name: getattr(request, name) for name in UNCHANGED},
    )
    return json.dumps(asdict(settings), indent=2) + "\n"


def _absolute(path: Path | None) -> str | None:
    """The path, independent of the working directory; a set on the hub is not a path."""
    return None if path is None else str(path if str(path).startswith("hf:") else path.absolute())


def training_folder(name: str | Path) -> Path:
    """The folder of a training: a folder, or a name in ``results``, with or without the ending ``-trained``.

    Raises:
        RecordError: there is no such folder.
    """
    given = Path(name)
    inside = Path("results")
    names = [given] if given.parent != Path() else [given, inside / given, inside / f"{given}-trained"]
    found = next((folder for folder in names if folder.is_dir()), None)
    if found is None:
        raise RecordError(
            f"there is no training {str(name)!r}", hint="give its folder, such as results/NAME-trained, or its name"
        )
    return found


def kept_recipe(folder: Path) -> Recipe | None:
    """The recipe of the training in a folder; None if the folder has no settings, as in an older version.

    Raises:
        RecordError: the settings cannot be read.
        SpecError: the recipe has problems.
    """
    if not (folder / SETTINGS).exists():
        return None
    found = _settings_of(folder)
    return replace(recipe_of(found.recipe, file=str(folder / SETTINGS)), name=found.recipe_name)


def _settings_of(folder: Path) -> _Settings:
    path = folder / SETTINGS
    try:
        return json_as(_Settings, read_bytes(path, max_bytes=MAX_BYTES))
    except FileNotFoundError as error:
        raise RecordError(
            f"{folder} holds no {SETTINGS}", hint=f"resume with the original command, with -o {folder}"
        ) from error
    except (OSError, UnsafeFileError) as error:
        raise RecordError(f"{path} cannot be read: {error}", hint="resume with the original command") from error


def resumed_request(folder: Path, team: Team) -> TrainingRequest:
    """The training request that is stored in a folder.

    Raises:
        RecordError: the folder contains no settings, or they cannot be used.
        SpecError: a network or the recipe in the settings has problems.
    """
    path, found = folder / SETTINGS, _settings_of(folder)
    if found.precision not in (None, *get_args(Precision)):
        raise RecordError(f"{path}: the precision is {found.precision!r}", hint="resume with the original command")
    weights_spec = None if found.weights_spec is None else _spec_of(found.weights_spec, path)
    return TrainingRequest(
        spec=_spec_of(found.spec, path),
        data=Path(found.data),
        folder=folder,
        recipe=replace(recipe_of(found.recipe, file=str(path)), name=found.recipe_name),
        weights=None if found.weights is None else Path(found.weights),
        weights_spec=weights_spec,
        teacher=None if found.teacher is None else Path(found.teacher),
        known_data=KnownData(found.fingerprint, found.content),
        team=team,
        **{name: getattr(found, name) for name in UNCHANGED},
    )


def _spec_of(text: str, path: Path) -> ModelSpec:
    spec = loads(text, file=str(path))
    if not isinstance(spec, ModelSpec):
        raise RecordError(f"{path}: {spec.name} is a search space", hint="resume with the original command")
    return spec

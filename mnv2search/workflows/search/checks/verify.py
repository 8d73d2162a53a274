"""Verify a front: recount its networks, rebuild them, and measure them again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from mnv2search.cost import cost_of
from mnv2search.display import Listing
from mnv2search.errors import RecordError
from mnv2search.evaluation import Evaluation
from mnv2search.latency.measuring.timing import OnProgress
from mnv2search.latency.prediction.cache import LatencyCache
from mnv2search.latency.registry import open_device
from mnv2search.results.checks import Check
from mnv2search.results.finetuning import finetuned_of_run
from mnv2search.results.manifest import MANIFEST, read_manifest
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.spec.yaml.codec import load_spec
from mnv2search.study.deadline import seconds_of
from mnv2search.study.results import rank_of
from mnv2search.workflows.search.log import recall, run_folder
from mnv2search.workflows.search.trust import check_trust


def front_files(folder: Path) -> tuple[Path, ...]:
    """The specs in `front/` of a run.

    Raises:
        RecordError: there are none.
    """
    files = tuple(sorted((folder / "front").glob("*.yaml")))
    if not files and (folder / MANIFEST).exists() and read_manifest(folder).status == "nothing fits":
        raise RecordError(
            f"{folder}: the run is finished, and no network is within its budget, so there is no front to verify",
            hint="`mnv2search front` shows what would have to be given up",
        )
    if not files:
        raise RecordError(
            f"{folder}: has no front to verify", hint="give the folder of a finished run, such as results/NAME"
        )
    return files


def verify(
    folder: str | Path,
    *,
    device: str | None = None,
    trust: bool = False,
    time: float | str | None = None,
    on_progress: OnProgress | None = None,
) -> Listing[Check]:
    """Recount, rebuild and measure every network of a front again, side by side, as `mnv2search verify` does.

    Networks that were trained at the end of the run are verified too.

    Args:
        folder: folder of a run, or its name in `results`.
        device: device to measure on; None takes that of the run.
        trust: open the device that the manifest names even if someone else made the folder.
        time: no visit begins after this time, in seconds or as text.
        on_progress: called after every visit with the number of finished networks.

    Raises:
        RecordError: the folder has no finished run, a file of `front/` is not in the records of the run, or the run's
            device is not local and the folder is not trusted.
        SpecError: a file of `front/` has problems.
        DeviceError: the device of the run cannot be used.
    """
    from mnv2search.model.build import build

    folder = run_folder(folder)
    files = front_files(folder)
    manifest, result = recall(folder)
    if device is None and not trust:
        check_trust(
            folder,
            manifest,
            evaluates=False,
            hint="choose a device with --device, or check the manifest and add --trust",
        )
    trained = finetuned_of_run(folder, result)
    recorded = {e.spec.name: e for e in (*(trained.front if trained else ()), *result.front)}
    specs = sorted(_specs(files, recorded), key=lambda spec: -rank_of(recorded[spec.name]))  # as the table
    with open_device(device or manifest.device.name) as opened:
        latencies = (
            LatencyCache()
            .measurer(opened)
            .measure(specs, time_s=seconds_of(time), budget_ms=manifest.budget.latency_ms, on_progress=on_progress)
        )
    return Listing(
        Check(
            then=recorded[spec.name],
            cost=cost_of(spec),
            built_params=sum(p.numel() for p in build(spec).parameters()),
            latency=latency,
            spec_is_recorded=spec == recorded[spec.name].spec,
        )
        for spec, latency in zip(specs, latencies, strict=True)
    )


def _specs(files: Sequence[Path], recorded: Mapping[str, Evaluation]) -> list[ModelSpec]:
    specs = [load_spec(file) for file in files]
    names = [spec.name for spec in specs]
    for file, name in zip(files, names, strict=True):
        if name not in recorded or names.count(name) > 1:
            raise RecordError(
                f"{file}: {name} is neither on the front of the records nor trained, or occurs twice",
                hint="remove it, or restore it",
            )
    if missing := sorted(recorded.keys() - set(names)):
        raise RecordError(f"{files[0].parent}: {missing[0]}.yaml is missing", hint="restore it")
    return specs

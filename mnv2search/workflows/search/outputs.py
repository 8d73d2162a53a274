"""Write the output files of a finished run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mnv2search.atomic import write_bytes, write_error, write_text
from mnv2search.evaluation import Budget, Evaluation
from mnv2search.report.html.page import Picture, page
from mnv2search.report.plot import front_png
from mnv2search.report.rows import accuracy_phrase, counted, measured_text
from mnv2search.report.search.front import front_csv
from mnv2search.report.search.run_page import run_parts
from mnv2search.results.run_report import RunReport
from mnv2search.spec.yaml.codec import dumps
from mnv2search.study.results import median_ms_of
from mnv2search.study.types import SearchResult
from mnv2search.untrusted import escaped, file_name

if TYPE_CHECKING:
    pass


PAGE, TRAINED = "report.html", "trained.png"


def write_outputs(folder: Path, result: SearchResult, *, budget: Budget, ships: bool = True) -> None:
    """Write `front/*.yaml`, `ship.yaml`, `front.csv` and `front.png`, each atomically.

    If `ships` is false, `ship.yaml` is left unchanged.

    Raises:
        RecordError: a file cannot be written.
    """
    kept = {front_path(folder, evaluation) for evaluation in result.front}
    if kept:
        make_front(folder)
    for evaluation in result.front:
        write_spec(front_path(folder, evaluation), evaluation)
    for stale in set((folder / "front").glob("*.yaml")) - kept:
        stale.unlink()
    if ships and result.ship is not None:
        write_spec(folder / "ship.yaml", result.ship)
    elif ships:
        (folder / "ship.yaml").unlink(missing_ok=True)
    write_text(folder / "front.csv", front_csv(result.front, ship=result.ship), makes_folder=False)
    write_bytes(folder / "front.png", _drawn(folder, result, budget), makes_folder=False)


def write_report(run: RunReport) -> None:
    """Write `report.html`, see `run_parts`; with fine-tuned networks, also `front.csv` and `trained.png`.

    Raises:
        WriteError: a file cannot be written.
    """
    folder, result, finetuned = run.folder, run.result, run.finetuned
    if not result.front:
        for stale in (PAGE, TRAINED):
            (folder / stale).unlink(missing_ok=True)
        return
    if finetuned is not None:
        trained = {e.spec: e for e in finetuned.trained}
        members = sorted({e.spec: e for e in (*result.front, *trained.values())}.values(), key=median_ms_of)
        text = front_csv(members, ship=finetuned.trained[finetuned.best])
        write_text(folder / "front.csv", text, makes_folder=False)
    picture = trained_picture(run)
    if picture is None:
        (folder / TRAINED).unlink(missing_ok=True)
    else:
        write_bytes(folder / TRAINED, picture.png, makes_folder=False)
    write_text(folder / PAGE, run_page(run, picture), makes_folder=False)


def run_page(run: RunReport, trained: Picture | None) -> str:
    """The text of `report.html`, with the picture of the networks that were trained separately."""
    parts = [*run_parts(run), *([] if trained is None else [trained])]
    return page(f"Search {run.folder.name}", parts)


def _drawn(folder: Path, result: SearchResult, budget: Budget) -> bytes:
    return front_png(
        result.front,
        dominated=result.dominated,
        baseline=result.baseline,
        budget_ms=budget.latency_ms,
        title=f"{folder.name}: {counted(len(result.front), 'network')} within {budget.latency_ms:g} ms",
    )


def trained_picture(run: RunReport) -> Picture | None:
    """The plot of the networks that were trained separately; None if there are fewer than two."""
    finetuned = run.finetuned
    if finetuned is None or len(finetuned.networks) < 2:
        return None
    unbeaten = {e.spec for e in finetuned.front}
    drawn = front_png(
        finetuned.front,
        dominated=[e for e in finetuned.trained if e.spec not in unbeaten],
        baseline=(),
        budget_ms=run.manifest.budget.latency_ms,
        title=f"{run.folder.name}: trained separately (steps as in the table), validation images",
        label="unbeaten",
        others="slower and no more accurate than another",
    )
    return Picture(title="Accuracy after separate trainings", png=drawn, shows="the trained networks, the budget")


def front_path(folder: Path, evaluation: Evaluation, *, suffix: str = ".yaml") -> Path:
    """Path of a front member's spec or, with another suffix, of its weights."""
    return folder / "front" / f"{file_name(evaluation.spec.name)}{suffix}"


def make_front(folder: Path) -> None:
    """Create the folder of the front in the folder of a run.

    Raises:
        WriteError: the folder of the run is missing or cannot be written to.
    """
    try:
        (folder / "front").mkdir(exist_ok=True)
    except OSError as error:
        raise write_error(folder / "front", error) from error


def write_spec(path: Path, evaluation: Evaluation) -> None:
    """Write a spec, with latency and accuracy as comments."""
    accuracy = evaluation.accuracy
    lines = [f"# measured latency {measured_text(evaluation.latency)} ms, 95 % interval"]
    if evaluation.latency is not None:
        info = evaluation.latency.device
        lines.append(f"# on {info.runtime} {info.runtime_version}, {info.hardware}, threads {info.threads}")
    if accuracy is not None:
        lines.append(f"# {accuracy_phrase(accuracy)}")
        lines += [f"# {accuracy.note}"] if accuracy.note else []
    comments = [escaped(" ".join(line.splitlines())) for line in lines]
    write_text(path, "\n".join(comments) + "\n" + dumps(evaluation.spec), makes_folder=False)

"""Write the report of a run, or of several runs side by side."""

from __future__ import annotations

import webbrowser
from collections.abc import Callable, Sequence
from pathlib import Path

from mnv2search.atomic import write_text
from mnv2search.errors import OptionError, RecordError
from mnv2search.report.html.page import page
from mnv2search.report.search.run_page import comparison_parts
from mnv2search.results.checks import CONFIRMATION, read_confirmations
from mnv2search.results.finetuning import Finetuned, finetuned_of_run
from mnv2search.results.manifest import Manifest
from mnv2search.results.run_report import RunReport
from mnv2search.results.stages.block_times import BLOCK_TIMES, read_block_times
from mnv2search.study.types import SearchResult
from mnv2search.workflows.options import path_of, paths_of
from mnv2search.workflows.search import outputs
from mnv2search.workflows.search.log import recall, recorded, run_folder, space_of_run
from mnv2search.workflows.search.outputs import PAGE, run_page, trained_picture
from mnv2search.workflows.search.report.importances import importances_of


def run_report_of(folder: Path, manifest: Manifest, result: SearchResult, finetuned: Finetuned | None) -> RunReport:
    """The data of the report of a run, from its result and the files in its folder.

    Raises:
        RecordError: a file in the folder is damaged.
    """
    space = space_of_run(folder, manifest)
    items = recorded(folder, space)
    return RunReport(
        folder=folder,
        manifest=manifest,
        result=result,
        items=items,
        finetuned=finetuned,
        confirmations=read_confirmations(folder / CONFIRMATION),
        block_times=read_block_times(folder / BLOCK_TIMES),
        importances=importances_of(space, items) if result.front else (),
    )


def write_report(
    folders: Sequence[str | Path] | str | Path,
    *,
    output: str | Path | None = None,
    force: bool = False,
    open: bool = False,
    on_note: Callable[[str], None] = lambda _: None,
) -> Path:
    """Write the report of one run from its records, or one that compares several runs; returns its path.

    Nothing is measured.

    Args:
        folders: folders of runs, or their names in `results`.
        output: path of the report. Default: `report.html` in the folder of the run; for several runs, a file next to
            the folder of the first run, named after all runs.
        force: replace the file if it exists; the report in the folder of a run is always replaced.
        open: open the report in the browser.
        on_note: called with a message if there is no browser.

    Raises:
        OptionError: there are no runs, a run is given twice, or the file exists.
        RecordError: a folder is not the folder of a run, or the run has no front yet.
    """
    path = _written([run_folder(one) for one in paths_of(folders)], path_of(output), force=force)
    if open and not webbrowser.open(path.resolve().as_uri()):
        on_note("no browser found: open the file yourself")
    return path


def _written(folders: Sequence[Path], output: Path | None, *, force: bool) -> Path:
    if not folders:
        raise OptionError("there are no runs to report on", hint="give the folder of a run, such as results/NAME")
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise OptionError("a run is given twice", hint="give each run once")
    first, *others = folders
    if output is None and not others:
        outputs.write_report(_read(first))
        return first / PAGE
    names = [folder.name for folder in folders]
    path = first.parent / f"{'+'.join(names)}.html" if output is None else output
    if path.exists() and not force:
        raise OptionError(f"{path} exists", hint="choose another name with -o, or overwrite it with --force")
    found = [_read(folder) for folder in folders]
    if others:
        write_text(path, page(f"Search {', '.join(names)}", comparison_parts(found)))
    else:
        write_text(path, run_page(found[0], trained_picture(found[0])))
    return path


def _read(folder: Path) -> RunReport:
    manifest, result = recall(folder)
    if not result.front:
        raise RecordError(
            f"{folder} has no front yet", hint=f"`mnv2search front {folder}` shows the reason and what would help"
        )
    return run_report_of(folder, manifest, result, finetuned_of_run(folder, result))

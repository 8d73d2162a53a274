"""What the trainings of a search learned, left beside the specs of its front."""

from __future__ import annotations

from pathlib import Path

from mnv2search.accuracy.types import Evaluator
from mnv2search.study.types import SearchResult
from mnv2search.training.checkpoint import write_whole
from mnv2search.workflows.search.outputs import front_path

__all__ = ["ship_kept"]


def ship_kept(folder: Path, result: SearchResult, evaluator: Evaluator) -> None:
    """Write the weights of each member of the front beside its spec, and those of the network to ship as ``ship.pt``.

    Weights that an earlier front left are removed, and what was kept of networks that are not on this one.

    Raises:
        TrainingError: the disk does not take them.
    """
    sources = {e.spec: source for e in result.front if (source := evaluator.weights_file(e.spec)) is not None}
    targets = {front_path(folder, e, suffix=".pt"): e.spec for e in result.front}
    for stale in set((folder / "front").glob("*.pt")) - set(targets):
        stale.unlink()
    (folder / "ship.pt").unlink(missing_ok=True)
    if result.ship is not None:
        targets[folder / "ship.pt"] = result.ship.spec
    for target, spec in targets.items():
        if spec in sources:
            write_whole(target, sources[spec].read_bytes())
    for parent in {source.parent for source in sources.values()}:
        for other in set(parent.glob("*.pt")) - set(sources.values()):
            other.unlink()

"""Write the weights of front members and of the network to ship."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mnv2search.accuracy.evaluator import Evaluator
from mnv2search.evaluation import Evaluation
from mnv2search.results.finetuning import Finetuned, training_folder
from mnv2search.study.types import SearchResult
from mnv2search.training.checkpoint import write_network, write_whole
from mnv2search.training.resumption import BEST
from mnv2search.workflows.search.outputs import front_path, write_spec


def ship_trained(
    folder: Path,
    result: SearchResult,
    evaluator: Evaluator,
    *,
    kept: Sequence[Evaluation] = (),
    ships: bool = True,
) -> None:
    """Write the weights of each front member beside its spec, and those of the network to ship as ``ship.pt``.

    Weights of all other networks except those of `kept` are removed, including those of an earlier front. If `ships`
    is false, ``ship.pt`` is left unchanged.
    """
    known = (*result.front, *kept)
    sources = {e.spec: source for e in known if (source := evaluator.weights_file(e.spec)) is not None}
    targets = {front_path(folder, e, suffix=".pt"): e.spec for e in result.front}
    for stale in set((folder / "front").glob("*.pt")) - set(targets):
        stale.unlink()
    if ships:
        (folder / "ship.pt").unlink(missing_ok=True)
    if ships and result.ship is not None:
        targets[folder / "ship.pt"] = result.ship.spec
    for target, spec in targets.items():
        if spec in sources:
            write_whole(target, sources[spec].read_bytes())
    for parent in {source.parent for source in sources.values()}:
        for other in set(parent.glob("*.pt")) - set(sources.values()):
            other.unlink()


def write_inherited(folder: Path, front: Sequence[Evaluation], evaluator: Evaluator) -> None:
    """Write the shared weights of each front member beside its spec."""
    for evaluation in front:
        member = evaluator.member(evaluation.spec)
        learned = evaluator.learned_of(evaluation.spec)
        write_network(front_path(folder, evaluation, suffix=".pt"), member, learned=learned)


def ship_finetuned(folder: Path, found: Finetuned) -> None:
    """Write the best fine-tuned network to ``ship.yaml`` and ``ship.pt``, and their front to ``front``."""
    for evaluation in found.front:
        write_spec(front_path(folder, evaluation), evaluation)
        trained = training_folder(found.weights.parent.parent, evaluation) / BEST
        write_whole(front_path(folder, evaluation, suffix=".pt"), trained.read_bytes())
    write_whole(folder / "ship.pt", found.weights.read_bytes())
    write_spec(folder / "ship.yaml", found.trained[found.best])
    for weights in (folder / "front").glob("*.pt"):
        if not weights.with_suffix(".yaml").exists():  # of an earlier front
            weights.unlink()

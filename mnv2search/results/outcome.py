"""The results of a run, with the folder that holds them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mnv2search.display import Displayed, PngImage
from mnv2search.evaluation import Evaluation
from mnv2search.results.checks import Confirmation
from mnv2search.results.finetuning import Finetuned
from mnv2search.results.manifest import Manifest
from mnv2search.study.types import SearchResult

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Outcome(Displayed):
    """Results of a run, and the folder that holds them.

    Attributes:
        already_finished: the run was finished before; the results are the earlier ones.
        finetuned: results of fine-tuning the most accurate networks of the front separately.
        notes: problems that did not stop the run.
        confirmations: comparisons of the front with the runtime's own converter; empty if there was none.
    """

    folder: Path
    manifest: Manifest
    result: SearchResult
    already_finished: bool = False
    finetuned: Finetuned | None = None
    notes: tuple[str, ...] = ()
    confirmations: tuple[Confirmation, ...] = ()

    def __repr__(self) -> str:
        return f"<{self.folder}: {self.manifest.status}, {str(self.result)[1:-1]}>"

    @property
    def front(self) -> tuple[Evaluation, ...]:
        """The front of the search, fastest network first."""
        return self.result.front

    @property
    def ship(self) -> Evaluation | None:
        """The network to ship: that of the separate trainings, or else that of the search; None if nothing fits."""
        return self.result.ship if self.finetuned is None else self.finetuned.trained[self.finetuned.best]

    def plot(self) -> PngImage:
        """Accuracy over latency; see `SearchResult.plot`."""
        return self.result.plot()

    def to_frame(self) -> DataFrame:
        """The evaluated networks as a pandas DataFrame; see `SearchResult.to_frame`."""
        return self.result.to_frame()

"""The confusion matrix of a classifier as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mnv2search.report.plot import INK, figure_of, png_of
from mnv2search.untrusted import escaped

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Maximum number of classes for which numbers are written, and for which names are.
MOST_NUMBERS, MOST_NAMES = 20, 60
LONGEST_NAME = 20
# Size of the figure in inches: of a cell, at least and at most in all.
CELL, LEAST, MOST = 0.45, 4.2, 11.0


def confusion_png(matrix: NDArray[np.int64], classes: Sequence[str]) -> bytes:
    """A PNG of a confusion matrix (classes, classes) of true by predicted class, shaded by the share of the row."""
    side = min(MOST, max(LEAST, 1.6 + CELL * len(classes)))
    figure, (axes,) = figure_of(side, side, dpi=110)
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    axes.grid(visible=False)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set(xlabel="predicted class", ylabel="true class")
    axes.xaxis.set_label_position("top")
    axes.xaxis.tick_top()
    if len(classes) <= MOST_NAMES:
        _name(axes, classes)
    if len(classes) <= MOST_NUMBERS:
        for i, j in zip(*matrix.nonzero(), strict=True):
            colour = "white" if shares[i, j] > 0.5 else INK
            axes.text(j, i, str(matrix[i, j]), ha="center", va="center", color=colour, fontsize=8)
    return png_of(figure)


def _name(axes: Axes, classes: Sequence[str]) -> None:
    names = [escaped(name)[:LONGEST_NAME] for name in classes]
    places = range(len(names))
    # names come from files: a dollar sign begins no formula
    axes.set_xticks(places, labels=names, rotation=90, fontsize=8, parse_math=False)
    axes.set_yticks(places, labels=names, fontsize=8, parse_math=False)

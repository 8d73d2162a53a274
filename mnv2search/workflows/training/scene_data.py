"""A set of scenes described: classes, boxes or pixels, sizes, and what is wrong with it."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

import numpy as np

from mnv2search.data.images import SPLITS, Split
from mnv2search.data.prepare import image_folder
from mnv2search.data.readers.masks import mask_of, numbered
from mnv2search.data.readers.scene_sets import read_scene_set
from mnv2search.data.scenes import Scene, SceneSet, Task
from mnv2search.results.data import Quantiles, SceneDescription, Sizes
from mnv2search.workflows.training.data import RARE, across, looked_at

__all__ = ["describe_scenes"]


def describe_scenes(
    source: Path,
    task: Task,
    *,
    seed: int = 0,
    void: int = 255,
    workers: int | None = None,
    on_progress: Callable[[int], None] = lambda _: None,
) -> SceneDescription:
    """Read every image and every annotation of a set and say what is there.

    Args:
        source: see `mnv2search.data.readers.scene_sets.read_scene_set`.
        task: what is to be read.
        seed: of the draw of parts that the set does not have.
        void: number of the pixels of masks that count for nothing.
        workers: threads; None takes one a processor.
        on_progress: told how many images were read.

    Raises:
        DataError: the set cannot be learned from.
    """
    scenes = read_scene_set(source, task, seed=seed, unpack_to=image_folder(), void=void)
    images: dict[Split, Counter[int]] = {split: Counter() for split in SPLITS}
    amounts: dict[Split, Counter[int]] = {split: Counter() for split in SPLITS}
    voids, empty = dict.fromkeys(SPLITS, 0), dict.fromkeys(SPLITS, 0)
    shorts: list[int] = []
    by_content: dict[bytes, list[tuple[Split, Path]]] = defaultdict(list)
    masks: dict[int, list[Path]] = defaultdict(list)
    every = [(split, scene) for split in SPLITS for scene in scenes.part(split)]
    with ThreadPoolExecutor(workers or os.cpu_count() or 1) as pool:
        looked = pool.map(lambda item: (looked_at(item[1].image), _amounts(item[1])), every)
        for done, ((split, scene), (image, found)) in enumerate(zip(every, looked, strict=True), start=1):
            if not isinstance(image, str):  # it was readable when the set was read
                shorts.append(image[0])
                by_content[image[1]].append((split, scene.image))
            if scene.mask is not None:
                voids[split] += found.pop(void, 0)
                for label in found:
                    masks[label].append(scene.mask)
            amounts[split].update(found)
            images[split].update(found.keys())
            empty[split] += not found
            on_progress(done)
    classes = range(len(scenes.classes))
    unnamed = task == "segmentation" and scenes.classes == numbered(len(scenes.classes))
    listed = tuple(label for label in classes if masks[label] or not unnamed)
    typical = median(amounts["train"][label] for label in listed)
    return SceneDescription(
        scenes=scenes,
        seed=seed,
        images={split: tuple(images[split][label] for label in classes) for split in SPLITS},
        amounts={split: tuple(amounts[split][label] for label in classes) for split in SPLITS},
        void=voids,
        empty=empty,
        sides=_sides(scenes),
        most_boxes=max(len(scene.boxes) for _, scene in every),
        sizes=Sizes(least=min(shorts), median=int(median(shorts)), most=max(shorts)) if shorts else None,
        repeated=tuple(pair for same in by_content.values() if (pair := across(same)) is not None),
        rare=tuple(scenes.classes[label] for label in listed if amounts["train"][label] < RARE * typical),
        listed=listed,
        singles=tuple((scenes.classes[label], masks[label][0]) for label in classes if len(masks[label]) == 1),
    )


def _amounts(scene: Scene) -> Counter[int]:
    """Boxes, or pixels, of each class."""
    mask = None if scene.mask is None else mask_of(scene.mask)
    if mask is None:
        return Counter(scene.labels)
    numbers, pixels = np.unique(mask, return_counts=True)
    return Counter(dict(zip(numbers.tolist(), pixels.tolist(), strict=True)))


def _sides(scenes: SceneSet) -> tuple[Quantiles | None, ...]:
    by_class: dict[int, list[float]] = defaultdict(list)
    for scene in scenes.train:
        whole = scene.size[0] * scene.size[1]
        for (x0, y0, x1, y1), label in zip(scene.boxes, scene.labels, strict=True):
            by_class[label].append(((x1 - x0) * (y1 - y0) / whole) ** 0.5)
    return tuple(_quantiles(by_class[label]) for label in range(len(scenes.classes)))


def _quantiles(sides: list[float]) -> Quantiles | None:
    if not sides:
        return None
    low, middle, high = np.quantile(sides, (0.05, 0.5, 0.95))
    return Quantiles(low=float(low), median=float(middle), high=float(high))

"""Detectors and segmenters learn: test figures from published and from random weights, beside trivial answers.

Run: `python benchmarks/dense_learning.py --detection bccd_detection.tar --segmentation camvid_360x270.tar --void 11
--weights efficientnet-lite0-57934424.pth [--epochs 12 5] [--threads 1] [-o FILE.json]`

Two networks with the backbone of EfficientNet-Lite0 are trained by the recipe `dense`: an SSDLite detector at 192 px
and a DeepLabV3 segmenter at 193 px with output stride 16; each from ImageNet weights and from random ones, with as
many epochs. Beside each stands the best trivial answer: the same boxes or the same mask for every image.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from mnv2search.recipe import load_recipe
from mnv2search.results.training import TrainingReport
from mnv2search.spec.catalog import entry
from mnv2search.spec.model_spec import DeepLab, ModelSpec, SsdLite
from mnv2search.tasks.metrics import record_of
from mnv2search.workflows.training.request import TrainingRequest
from mnv2search.workflows.training.train import train_spec

BACKBONE = "efficientnet_lite0"
# Anchors from 12 % of the image's side on, six a place, find more cells than three of 10 and 20 %.
DETECTOR = SsdLite(classes=1, smallest_scale=0.12, reduced_first=False)
SEGMENTER = DeepLab(classes=2, channels=128)


def main() -> None:
    """Train and judge the networks, and print a row for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--detection", type=Path, help="a set with boxes")
    parser.add_argument("--segmentation", type=Path, help="a set with masks")
    parser.add_argument("--void", type=int, default=255)
    parser.add_argument("--weights", type=Path, required=True, help=f"published weights of {BACKBONE}")
    parser.add_argument("--epochs", type=int, nargs=2, default=[12, 5], help="of the detector and the segmenter")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("-o", "--output", type=Path, help="JSON of every figure")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    base = entry(BACKBONE).spec
    detector = replace(base, name="ssdlite_lite0_192", resolution=192, head=DETECTOR)
    segmenter = replace(
        base, name="deeplab_lite0_193", resolution=193, last_channels=None, output_stride=16, head=SEGMENTER
    )
    found: dict[str, Any] = {}
    print(
        "| network, initial weights | epochs | metric | validation | test | other test metrics | trivial | minutes |"
    )
    print("|---|---|---|---|---|---|---|---|", flush=True)
    for data, spec, epochs in zip(
        (arguments.detection, arguments.segmentation), (detector, segmenter), arguments.epochs, strict=True
    ):
        if data is None:
            continue
        for name, weights in (("ImageNet", arguments.weights), ("random", None)):
            with tempfile.TemporaryDirectory() as folder:
                request = TrainingRequest(
                    spec=spec,
                    data=data,
                    folder=Path(folder),
                    recipe=load_recipe("dense"),
                    epochs=epochs,
                    weights=weights,
                    weights_spec=base if weights else None,
                    void=arguments.void,
                )
                report = train_spec(request)
                curve = _curve(Path(folder))
            print(_row(spec, name, report), flush=True)
            found[f"{spec.name}, {name}"] = _told(report, curve)
            if arguments.output is not None:
                arguments.output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def _row(spec: ModelSpec, name: str, report: TrainingReport) -> str:
    shown = dict(report.test.details)
    key = "ap50" if "ap50" in shown else "pixels"
    cells = (
        f"{spec.name}, {name}",
        f"{report.trained.epochs:.0f}",
        f"{report.test.main.name}, %",
        f"{100 * report.trained.best.main.value:.1f}",
        f"{100 * report.test.main.value:.1f}",
        f"{key} {100 * shown.get(key, 0.0):.1f} %",
        f"{100 * (report.test.trivial or 0.0):.1f}",
        f"{report.trained.seconds / 60:.1f}",
    )
    return f"| {' | '.join(cells)} |"


def _told(report: TrainingReport, curve: list[dict[str, float]]) -> dict[str, Any]:
    trained = report.trained
    return {
        "data": report.data.root.name,
        "images": {split: len(report.data.part(split)) for split in ("train", "val", "test")},
        "held_out": record_of(trained.best),
        "test": record_of(report.test),
        "epochs": trained.epochs,
        "steps": trained.steps,
        "seconds": trained.seconds,
        "images_per_s": trained.images_per_s,
        "precision": trained.precision,
        "threads": report.threads,
        "curve": curve,
    }


def _curve(folder: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (folder / "history.jsonl").read_text(encoding="utf-8").splitlines()]
    return [{"step": one["step"], "loss": one["loss"], "held_out": one["evaluated"]["value"]} for one in lines]


if __name__ == "__main__":
    main()

"""Exported files reach the reported accuracy without this package: counts of right answers for each format.

Run: `python benchmarks/independent_accuracy.py clothing_216.tar cifar10_jpg.tar.xz [--weights FILE.pt ...] [--spec
NAME --resolution N ...] [--time 180] [--images 1000] [--threads 1]`

For every set, a network is trained for some time (or given by `--weights`, one for each set), and compiled to every
format in single precision and in eight-bit integers. The script of docs/how-to/use-the-exported-file.md, started as a
separate process, then counts its right answers on the test images, beside the count that `compile --data` reports.
Goal: equal counts; in eight bits, within 3 of 1,000 images.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch

from mnv2search.data.reading import image_folder, read_dataset
from mnv2search.spec.catalog import entry
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.spec.rules import changed
from mnv2search.workflows.compile import compile
from mnv2search.workflows.training.request import TrainingRequest
from mnv2search.workflows.training.train import train_spec

PAGE = Path(__file__).parents[1] / "docs" / "how-to" / "use-the-exported-file.md"
ONNX, LITERT, PREPARED, COUNT, _ = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.M | re.S)
MODULE = """
import net
model = net.network("net.pt").eval()
p = {"classes": net.LABELS}
prepared = net.preprocess
run = lambda images: model(images).detach()
"""
PROGRAM = """
import json, torch
texts = {"preprocessing.json": ""}
module = torch.export.load("net.pt2", extra_files=texts).module()
p = json.loads(texts["preprocessing.json"])
run = lambda pixels: module(torch.from_numpy(pixels).contiguous()).detach()
"""
EXECUTORCH = """
import json, torch
from pathlib import Path
from executorch.extension.pybindings import portable_lib
p = json.loads(Path("net.pte.json").read_text())
module = portable_lib._load_for_executorch("net.pte")
run = lambda pixels: module.forward((torch.from_numpy(pixels).contiguous(),))[0]
"""
# File -> the code that opens it and prepares images.
FORMATS = {
    "net.onnx": ONNX + PREPARED,
    "net.tflite": LITERT + PREPARED,
    "net.py": MODULE,
    "net.pt2": PROGRAM + PREPARED,
    "net.pte": EXECUTORCH + PREPARED,
    "int8.onnx": (ONNX + PREPARED).replace("net.", "int8."),
    "int8.tflite": (LITERT + PREPARED).replace("net.tflite", "int8.tflite"),
    "int8.pte": (EXECUTORCH + PREPARED).replace("net.pte", "int8.pte"),
}
WHOLE = ("net.onnx", "net.tflite", "net.pt2", "net.pte", "net.pt", "net.py")
INTEGERS = ("int8.onnx", "int8.tflite", "int8.pte")


def main() -> None:
    """Print a row for every file of every set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="+", type=Path, help="sets of images with a test folder")
    parser.add_argument("--weights", nargs="+", type=Path, help="a trained .pt file for each set")
    parser.add_argument("--spec", default="mobilenet_v2_0.35_96", help="network that is trained otherwise")
    parser.add_argument("--resolution", type=int, nargs="+", help="its side, for each set")
    parser.add_argument("--time", type=float, default=180, help="seconds of each training")
    parser.add_argument("--images", type=int, default=1000, help="most test images of a set")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print("| set | file | reported | script | of |")
    print("|---|---|---:|---:|---:|", flush=True)
    for number, source in enumerate(arguments.sets):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            _write_photos(source, folder / "photos", most_test=arguments.images)
            if arguments.weights:
                best = arguments.weights[number]
            else:
                spec = entry(arguments.spec).spec
                if arguments.resolution:
                    spec = changed(spec, {"resolution": arguments.resolution[number]})
                best = _trained(spec, folder, arguments.time)
            for file, reported, found, count in _counts(best, folder):
                print(f"| {source.name} | {file} | {reported} | {found} | {count} |", flush=True)


def _write_photos(source: Path, folder: Path, *, most_test: int) -> None:
    """A folder of classes in the folders train, val and test, with links to the images of a set."""
    data = read_dataset(source, "classification", unpack_to=image_folder())
    step = max(1, len(data.test) // most_test)
    for part, examples in (("train", data.train), ("val", data.val), ("test", data.test[::step])):
        for example in examples:
            to = folder / part / data.classes[example.label] / example.path.name
            to.parent.mkdir(parents=True, exist_ok=True)
            to.symlink_to(example.path)


def _trained(spec: ModelSpec, folder: Path, time_s: float) -> Path:
    request = TrainingRequest(
        spec=spec, data=folder / "photos", folder=folder / "trained", recipe="short", time_s=time_s
    )
    train_spec(request)
    return folder / "trained" / "best.pt"


def _counts(best: Path, folder: Path) -> Iterator[tuple[str, int, int, int]]:
    """File, count of right answers as reported and as counted by the script, and number of images."""
    reported: dict[str, tuple[int, int]] = {}
    for names, precision in ((WHOLE, "fp32"), (INTEGERS, "int8")):
        paths = [folder / name for name in names]
        found = compile(best, output=paths, precision=precision, data=folder / "photos", no_fvcore=True)
        for name, metrics in found.judged:
            reported[Path(name).name] = round(metrics.main.value * metrics.count), metrics.count
    reported["net.py"] = reported["the network"]
    for name, code in FORMATS.items():
        words = [sys.executable, "-c", f"{code}\n{COUNT}"]
        done = subprocess.run(words, cwd=folder, stdout=subprocess.PIPE, text=True, check=True)
        yield name, reported[name][0], int(done.stdout.split()[-5]), reported[name][1]


if __name__ == "__main__":
    main()

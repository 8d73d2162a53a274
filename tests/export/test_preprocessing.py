"""Every exported file says how images are prepared for it, as far as its weights say."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from export_specs import EXOTIC, detector, segmenter
from photo_sets import drawn
from PIL import Image
from test_use_without_package import PREPARED_WHOLE

from mnv2search.data.dataset import Example
from mnv2search.data.loaded_scenes import LoadedScenes
from mnv2search.data.preprocessing import KEY, Preprocessing
from mnv2search.data.transforms import normalised
from mnv2search.errors import ExportError
from mnv2search.export import export
from mnv2search.model.build import build
from mnv2search.model.weights.network_file import Learned
from mnv2search.spec.heads.outputs import with_output
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.spec.plan import plan
from mnv2search.training.checkpoint import write_network

PLAIN = EXOTIC["plain"]
NAMES = ("grün", 'a "quoted" name', "line\nbreak", "$name ${it}", "\\", "名", "7", "8", "9", "%end")
LEARNED = Learned(classes=NAMES, normalization="imagenet", crop=0.875)
SIZE_AND_OUTPUT = {
    "input",
    "layout",
    "height",
    "width",
    "output",
    "output_form",
    "output_shape",
    "output_meaning",
}


def in_onnx(path: Path) -> str:
    (entry,) = onnx.load(path).metadata_props
    assert entry.key == KEY
    return str(entry.value)


def in_openvino(path: Path) -> str:
    openvino = pytest.importorskip("openvino", reason="OpenVINO is not installed")
    found = openvino.Core().read_model(path).get_rt_info(["framework", KEY])
    return str(found if isinstance(found, str) else found.astype(str))


def in_tflite(path: Path) -> str:
    schema = pytest.importorskip("ai_edge_litert.schema_py_generated", reason="LiteRT is not installed")
    model = schema.ModelT.InitFromPackedBuf(path.read_bytes())
    return bytes(model.buffers[{m.name: m.buffer for m in model.metadata}[KEY.encode()]].data).decode()


def in_program(path: Path) -> str:
    texts = {"preprocessing.json": ""}
    torch.export.load(path, extra_files=texts)
    return texts["preprocessing.json"]


def in_state_dict(path: Path) -> str:
    return str(torch.load(path, weights_only=True)[KEY])


def beside(path: Path) -> str:
    return path.with_name(f"{path.name}.json").read_text(encoding="utf-8")


READERS: dict[str, tuple[str, Callable[[Path], str]]] = {
    "onnx": (".onnx", in_onnx),
    "openvino": (".onnx", in_openvino),
    "tflite": (".tflite", in_tflite),
    "pt2": (".pt2", in_program),
    "pt": (".pt", in_state_dict),
    "pte": (".pte", beside),
}
RUNTIMES = {".tflite": "ai_edge_litert", ".pte": "executorch"}
every_format = pytest.mark.parametrize("name", READERS)


def written(spec: ModelSpec, folder: Path, name: str, learned: Learned | None) -> dict[str, object]:
    """The document in a file of a format."""
    suffix, read = READERS[name]
    if suffix in RUNTIMES and find_spec(RUNTIMES[suffix]) is None:
        pytest.skip(f"{RUNTIMES[suffix]} is not installed")
    write_network(folder / "best.pt", build(spec, seed=0).eval(), learned=learned)
    export(spec, folder / f"net{suffix}", weights=folder / "best.pt")
    found: dict[str, object] = json.loads(read(folder / f"net{suffix}"))
    return found


@every_format
def test_a_trained_network_says_all(name: str, tmp_path: Path) -> None:
    found = written(PLAIN, tmp_path, name, LEARNED)
    layout = "NHWC" if name == "tflite" else "NCHW"
    assert found == Preprocessing.of(plan(PLAIN), LEARNED).document(layout)  # type: ignore[arg-type]
    assert found["classes"] == list(NAMES)
    assert (found["mean"], found["std"]) == ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    assert found["short_side"] == 37


@every_format
def test_a_network_without_labels_says_only_size_layout_and_output(name: str, tmp_path: Path) -> None:
    assert written(PLAIN, tmp_path, name, None).keys() == SIZE_AND_OUTPUT


@every_format
def test_a_name_that_is_no_unicode_text_is_written_as_escapes(name: str, tmp_path: Path) -> None:
    learned = replace(LEARNED, classes=("\udcff", *NAMES[1:]))
    assert written(PLAIN, tmp_path, name, learned)["classes"] == ["\\udcff", *NAMES[1:]]


def test_weights_of_an_earlier_version_do_not_say_how_images_are_cropped(tmp_path: Path) -> None:
    found = written(PLAIN, tmp_path, "onnx", Learned(classes=NAMES, normalization="unit"))
    assert found.keys() == {*SIZE_AND_OUTPUT, "channels", "value_range", "mean", "std", "classes"}


def test_a_document_leaves_the_graph_valid(tmp_path: Path) -> None:
    written(PLAIN, tmp_path, "onnx", LEARNED)
    onnx.checker.check_model(onnx.load(tmp_path / "net.onnx"), full_check=True)


def test_names_of_any_characters_are_labels_of_the_module(tmp_path: Path) -> None:
    write_network(tmp_path / "best.pt", build(PLAIN, seed=0).eval(), learned=LEARNED)
    export(PLAIN, tmp_path / "net.py", weights=tmp_path / "best.pt")
    namespace: dict[str, object] = {"__name__": "net"}
    exec((tmp_path / "net.py").read_text(encoding="utf-8"), namespace)
    assert namespace["LABELS"] == NAMES


@pytest.mark.parametrize(("crop", "has_it"), [(0.875, True), (None, False)])
def test_a_module_prepares_images_if_it_is_known_how(crop: float | None, has_it: bool, tmp_path: Path) -> None:
    learned = Learned(classes=NAMES, normalization="unit", crop=crop)
    write_network(tmp_path / "best.pt", build(PLAIN, seed=0).eval(), learned=learned)
    export(PLAIN, tmp_path / "net.py", weights=tmp_path / "best.pt")
    assert ("def preprocess(" in (tmp_path / "net.py").read_text(encoding="utf-8")) == has_it


def test_a_document_beside_is_not_overwritten_unasked(tmp_path: Path) -> None:
    pytest.importorskip("executorch", reason="ExecuTorch is not installed")
    (tmp_path / "net.pte.json").write_text("mine")
    with pytest.raises(ExportError, match=r"net\.pte\.json exists"):
        export(PLAIN, tmp_path / "net.pte")
    export(PLAIN, tmp_path / "net.pte", force=True)
    assert json.loads((tmp_path / "net.pte.json").read_text())["layout"] == "NCHW"


DENSE = {
    "raw": (detector(classes=2), [7]),
    "boxes": (detector(classes=2), [6]),
    "detections": (detector(classes=2), [6]),
    "logits": (segmenter(classes=2), [2]),
    "resized": (segmenter(classes=2), [2]),
    "classes": (segmenter(classes=2), []),
}


@pytest.mark.parametrize("output", DENSE)
def test_a_detector_and_a_segmenter_name_what_their_output_holds(output: str, tmp_path: Path) -> None:
    base, last = DENSE[output]
    spec = with_output(base, output)
    found = written(spec, tmp_path, "tflite", Learned(classes=("a", "b"), normalization="unit"))
    assert (found["output_form"], found["resize"], found["exif_orientation"]) == (output, "whole image", False)
    assert found["output_shape"][2:] == last or found["output_shape"][1:] == last  # type: ignore[index]


def test_the_page_prepares_the_very_pixels_of_scenes(tmp_path: Path) -> None:
    spec = detector(classes=2)
    paths = sorted(drawn(tmp_path / "photos", train=8, test=1).rglob("train/*/*"))
    loaded = LoadedScenes([Example(path=path, size=(1, 1)) for path in paths], size=spec.size, void=255)
    expected = normalised(loaded.batch(range(len(paths))).images, "imagenet").numpy()
    learned = Learned(classes=("a", "b"), normalization="imagenet")
    p = Preprocessing.of(plan(spec), learned).document("NCHW")
    namespace: dict[str, Callable[[Path], object]] = {"p": p, "np": np, "Image": Image}  # type: ignore[dict-item]
    exec(PREPARED_WHOLE, namespace)
    found = np.concatenate([namespace["prepared"](path) for path in paths])
    np.testing.assert_array_equal(found, expected)


def test_lines_say_the_input_and_the_output() -> None:
    one, other = Preprocessing.of(plan(PLAIN), LEARNED).lines()
    assert one.startswith(
        "input: 32 x 32 px; short side scaled to 37 px (bicubic), center crop; RGB, value / 255, mean"
    )
    assert other.startswith("output logits, 10 for an image: logits of the classes; classes: grün, ")
    assert other.endswith(" and 5 more")

"""Core ML packages: structure and metadata; only Apple's systems can run them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from export_specs import EXOTIC, detector, segmenter

from mnv2search.data.preprocessing import KEY, Preprocessing
from mnv2search.errors import ExportError, OptionError
from mnv2search.export import check_export, export
from mnv2search.export.precision import Precision
from mnv2search.model.build import build
from mnv2search.model.weights.network_file import Learned
from mnv2search.spec.heads.outputs import answer_shape, with_output
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.spec.plan import plan
from mnv2search.training.checkpoint import write_network

coremltools = pytest.importorskip("coremltools", reason="coremltools is not installed")
PLAIN = EXOTIC["plain"]
LEARNED = Learned(classes=tuple("abcdefghij"), normalization="tensorflow", crop=0.875)
SPECS = {
    **{name: EXOTIC[name] for name in ("plain", "same-even", "split-uneven", "gated-v3", "residual-pad", "no-head")},
    **{output: with_output(detector(classes=2), output) for output in ("raw", "boxes")},
    **{output: with_output(segmenter(classes=2), output) for output in ("logits", "resized", "classes")},
}


def described(path: Path) -> Any:
    return coremltools.utils.load_spec(str(path)).description


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_a_package_takes_one_image_and_has_the_shape_of_the_output(spec: ModelSpec, tmp_path: Path) -> None:
    report = export(spec, tmp_path / "net.mlpackage")
    found = described(tmp_path / "net.mlpackage")
    (image,), (output,) = found.input, found.output
    assert (image.name, list(image.type.multiArrayType.shape)) == ("image", [1, 3, *spec.size])
    assert (output.name, list(output.type.multiArrayType.shape)) == ("output", [1, *answer_shape(plan(spec))])
    assert not report.is_run
    assert report.max_relative_difference <= 1e-5
    assert report.size_bytes == sum(f.stat().st_size for f in (tmp_path / "net.mlpackage").rglob("*") if f.is_file())


def test_a_package_says_how_images_are_prepared(tmp_path: Path) -> None:
    write_network(tmp_path / "best.pt", build(PLAIN, seed=0).eval(), learned=LEARNED)
    export(PLAIN, tmp_path / "net.mlpackage", weights=tmp_path / "best.pt")
    found = described(tmp_path / "net.mlpackage")
    preprocessing = Preprocessing.of(plan(PLAIN), LEARNED)
    assert json.loads(found.metadata.userDefined[KEY]) == preprocessing.document("NCHW")
    assert [found.input[0].shortDescription, found.output[0].shortDescription] == list(preprocessing.lines())


def test_nothing_but_the_package_is_left_and_half_precision_is_smaller(tmp_path: Path) -> None:
    whole = export(PLAIN, tmp_path / "net.mlpackage")
    half = export(PLAIN, tmp_path / "half.mlpackage", precision=Precision(kind="fp16"))
    assert half.size_bytes < 0.7 * whole.size_bytes
    assert sorted(path.name for path in tmp_path.iterdir()) == ["half.mlpackage", "net.mlpackage"]
    assert sorted(path.name for path in (tmp_path / "net.mlpackage").iterdir()) == ["Data", "Manifest.json"]


def test_a_package_is_replaced_on_request_only(tmp_path: Path) -> None:
    (tmp_path / "net.mlpackage").mkdir()
    (tmp_path / "net.mlpackage" / "mine").write_text("")
    with pytest.raises(ExportError, match=r"net\.mlpackage exists"):
        export(PLAIN, tmp_path / "net.mlpackage")
    export(PLAIN, tmp_path / "net.mlpackage", force=True)
    assert not (tmp_path / "net.mlpackage" / "mine").exists()


def test_suppression_of_boxes_is_refused_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="does not support the non-maximum suppression"):
        check_export(with_output(detector(classes=2), "detections"), tmp_path / "net.mlpackage", precision="fp32")


def test_a_folder_that_is_missing_is_an_export_error(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"net\.mlpackage cannot be written: No such file"):
        export(PLAIN, tmp_path / "none" / "net.mlpackage")

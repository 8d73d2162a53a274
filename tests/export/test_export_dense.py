"""Detectors and segmenters written to files, and what cannot hold them says so."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from export_specs import DENSE, detector, lively, segmenter

from mnv2search.errors import ExportError, OptionError
from mnv2search.export import export
from mnv2search.export.arrays import layer_arrays
from mnv2search.export.check import write_checked
from mnv2search.export.formats import artifact_exporter as lowered
from mnv2search.export.formats import onnx as onnx_format
from mnv2search.lowering.onnx.model import onnx_bytes
from mnv2search.lowering.types import NetworkArrays
from mnv2search.model.build import build
from mnv2search.spec.model_spec import ModelSpec, SsdLite
from mnv2search.spec.plan import Plan, plan


def saved(spec: ModelSpec, folder: Path) -> Path:
    """A file of weights that give answers of all sizes."""
    weights = folder / "weights.pth"
    torch.save(lively(spec).state_dict(), weights)
    return weights


SUFFIXES = {
    ".onnx": "onnxruntime",
    ".pt": "torch",
    ".pt2": "torch",
    ".py": "torch",
    ".tflite": "ai_edge_litert",
    ".pte": "executorch",
}
BOTH = pytest.mark.parametrize(
    "spec", [DENSE["detector"], DENSE["segmenter, decoder"]], ids=["detector", "segmenter"]
)
CHOOSING = pytest.mark.parametrize(
    "spec",
    [detector(output="detections", score_threshold=0.05, detections=20), segmenter(output="classes")],
    ids=["detections", "classes"],
)


@pytest.mark.parametrize("suffix", SUFFIXES)
@BOTH
def test_what_is_written_agrees_with_the_network(spec: ModelSpec, suffix: str, tmp_path: Path) -> None:
    pytest.importorskip(SUFFIXES[suffix], reason="the runtime is not installed")
    report = export(spec, tmp_path / f"net{suffix}", weights=saved(spec, tmp_path))
    assert report.max_relative_difference <= 1e-5
    assert report.size_bytes > 0


def test_suppression_is_written_into_the_graph_of_an_untrained_network(tmp_path: Path) -> None:
    report = export(detector(output="detections"), tmp_path / "net.onnx")
    assert report.max_relative_difference <= 1e-5


def selects(laid_out: Plan) -> bool:
    return isinstance(laid_out.spec.head, SsdLite) and laid_out.spec.head.output == "detections"


def test_a_graph_that_selects_otherwise_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = plan(detector(output="detections", iou_threshold=0.05))

    def wrong(laid_out: Plan, weights: NetworkArrays, *, batch: int | None) -> bytes:
        return onnx_bytes(other if selects(laid_out) else laid_out, weights, batch=batch)

    monkeypatch.setattr(onnx_format, "onnx_bytes", wrong)
    with pytest.raises(ExportError, match="differs from the network"):
        export(detector(output="detections"), tmp_path / "net.onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_traced_program_cannot_hold_suppression(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="does not support the non-maximum suppression of detector"):
        export(detector(output="detections"), tmp_path / "net.pt2")


@CHOOSING
@pytest.mark.parametrize("suffix", [".onnx", ".tflite", ".py"])
def test_a_choice_among_answers_is_written(spec: ModelSpec, suffix: str, tmp_path: Path) -> None:
    pytest.importorskip(SUFFIXES[suffix], reason="the runtime is not installed")
    report = export(spec, tmp_path / f"net{suffix}", weights=saved(spec, tmp_path))
    assert report.max_relative_difference <= 1e-5


@CHOOSING
def test_a_program_of_xnnpack_cannot_choose(spec: ModelSpec, tmp_path: Path) -> None:
    with pytest.raises(
        OptionError, match=f"an ExecuTorch program on XNNPACK does not support .*{spec.name}"
    ) as caught:
        export(spec, tmp_path / "net.pte")
    assert "outside of it" in caught.value.hint
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_classes_with_wrong_logits_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = layer_arrays(lively(segmenter()))
    monkeypatch.setattr(lowered, "layer_arrays", lambda _: other)
    with pytest.raises(ExportError, match="differs from the network"):
        export(segmenter(output="classes"), tmp_path / "net.onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_reference_is_what_a_file_is_held_against(tmp_path: Path) -> None:
    model = build(segmenter(), seed=0).eval()
    with pytest.raises(ExportError, match="differs from the network"):
        write_checked(
            model,
            tmp_path / "net.txt",
            seed=0,
            content=b"",
            load=lambda _: model,
            reference=lambda images: model(images) + 1,
        )

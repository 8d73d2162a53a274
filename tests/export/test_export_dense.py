"""Detectors and segmenters written to files, and what cannot hold them says so."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from export_specs import DENSE, detector, lively, segmenter

from mnv2search.errors import ExportError, OptionError
from mnv2search.export import export
from mnv2search.export.check import write_checked
from mnv2search.export.formats import onnx as onnx_format
from mnv2search.lowering.onnx import onnx_bytes
from mnv2search.lowering.types import NetworkArrays
from mnv2search.model.build import build
from mnv2search.spec.model_spec import ModelSpec, SsdLite
from mnv2search.spec.plan import Plan, plan


@pytest.mark.parametrize("suffix", [".onnx", ".pt", ".pt2"])
@pytest.mark.parametrize("spec", [DENSE["detector"], DENSE["segmenter, decoder"]], ids=["detector", "segmenter"])
def test_what_is_written_agrees_with_the_network(spec: ModelSpec, suffix: str, tmp_path: Path) -> None:
    weights = tmp_path / "weights.pth"
    torch.save(lively(spec).state_dict(), weights)
    report = export(spec, tmp_path / f"net{suffix}", weights=weights)
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
    with pytest.raises(OptionError, match="cannot hold the non-maximum suppression of detector"):
        export(detector(output="detections"), tmp_path / "net.pt2")


@pytest.mark.parametrize("suffix", [".tflite", ".pte", ".py"])
@pytest.mark.parametrize("spec", [detector(), segmenter()], ids=["detector", "segmenter"])
def test_formats_of_chains_say_that_they_are(spec: ModelSpec, suffix: str, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=f"cannot take {spec.name}: its head reads several maps"):
        export(spec, tmp_path / f"net{suffix}")
    assert list(tmp_path.iterdir()) == []


def test_a_reference_is_what_a_file_is_held_against(tmp_path: Path) -> None:
    model = build(segmenter(), seed=0).eval()
    with pytest.raises(ExportError, match="differs from the network"):
        write_checked(
            model,
            tmp_path / "net.txt",
            seed=0,
            write=Path.touch,
            load=lambda _: model,
            reference=lambda images: model(images) + 1,
        )

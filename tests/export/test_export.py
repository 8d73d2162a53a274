"""Networks written to files: what is read back computes the same, and nothing else is left behind."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from export_specs import EXOTIC, images, lively, mobilenet_v2, small_specs
from hypothesis import HealthCheck, given, settings
from torch import Tensor

from mnv2search.data.preprocessing import Preprocessing
from mnv2search.errors import ExportError, UnknownNameError, WeightsError
from mnv2search.export import Exporter, export
from mnv2search.export.arrays import layer_arrays
from mnv2search.export.check import difference, write_checked
from mnv2search.export.formats.source import SourceExporter, source_text
from mnv2search.export.precision import FP32
from mnv2search.lowering.onnx.model import onnx_bytes
from mnv2search.model.build import MobileNet, build
from mnv2search.model.weights.network_file import read_network
from mnv2search.plugins import load, names
from mnv2search.spec.model_spec import ModelSpec

TFLITE = pytest.param(
    ".tflite", marks=pytest.mark.skipif(find_spec("ai_edge_litert") is None, reason="LiteRT is not installed")
)
PTE = pytest.param(
    ".pte", marks=pytest.mark.skipif(find_spec("executorch") is None, reason="ExecuTorch is not installed")
)
SUFFIXES = (".pt", ".pt2", ".onnx", ".py", TFLITE, PTE)
PLAIN = EXOTIC["plain"]
BOUNDED = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
exotic = pytest.mark.parametrize("spec", EXOTIC.values(), ids=EXOTIC.keys())
every_suffix = pytest.mark.parametrize("suffix", SUFFIXES)


def saved(model: MobileNet, folder: Path) -> Path:
    """A file of the model's weights."""
    path = folder / "weights.pth"
    torch.save(model.state_dict(), path)
    return path


def source_of(model: MobileNet) -> str:
    return source_text(model.plan, only_size=model.only_size, preprocessing=Preprocessing.of(model.plan, None))


@every_suffix
def test_what_is_written_agrees_with_the_network(suffix: str, tmp_path: Path) -> None:
    to = tmp_path / f"net{suffix}"
    report = export(PLAIN, to, weights=saved(lively(PLAIN), tmp_path))
    assert report.path == to
    assert report.size_bytes == to.stat().st_size
    assert report.tolerance == FP32.accepted
    assert report.max_relative_difference <= 1e-5


@exotic
@pytest.mark.parametrize("suffix", [".pt", ".onnx", ".py", TFLITE, PTE])
def test_every_setting_is_written(suffix: str, spec: ModelSpec, tmp_path: Path) -> None:
    report = export(spec, tmp_path / f"net{suffix}", weights=saved(lively(spec), tmp_path))
    assert report.max_relative_difference <= 1e-5


@pytest.mark.parametrize("name", ["same-even", "split-uneven", "residual-pad", "gated-v3", "fused"])
def test_settings_with_modules_of_their_own_are_traced(name: str, tmp_path: Path) -> None:
    spec = EXOTIC[name]
    report = export(spec, tmp_path / "net.pt2", weights=saved(lively(spec), tmp_path))
    assert report.max_relative_difference <= 1e-5


def test_the_papers_network_is_written(tmp_path: Path) -> None:
    report = export(mobilenet_v2(), tmp_path / "net.onnx", weights=saved(lively(mobilenet_v2()), tmp_path))
    assert report.max_relative_difference <= 1e-5


@BOUNDED
@given(small_specs())
def test_any_network_agrees_with_its_onnx_graph(spec: ModelSpec) -> None:
    model = lively(spec)
    graph = onnx_bytes(model.plan, layer_arrays(model), batch=None)
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def run(x: Tensor) -> Tensor:
        return torch.from_numpy(session.run(None, {name: x.numpy()})[0])

    assert difference(model, run, seed=0).max_relative_difference <= 1e-4


@BOUNDED
@given(small_specs())
def test_any_network_agrees_with_its_source(spec: ModelSpec) -> None:
    model = lively(spec)
    namespace: dict[str, Callable[[], torch.nn.Module]] = {"__name__": "exported"}  # type: ignore[dict-item]
    exec(source_of(model), namespace)
    made = namespace["network"]()
    made.load_state_dict(model.state_dict())
    assert list(made.state_dict()) == list(model.state_dict())
    assert difference(model, made.eval(), seed=0).max_relative_difference <= 1e-6


def test_state_dict_file_holds_the_spec_and_no_code(tmp_path: Path) -> None:
    export(EXOTIC["gated"], tmp_path / "net.pt", seed=5)
    content = torch.load(tmp_path / "net.pt", weights_only=True)
    assert sorted(content) == ["mnv2search", "preprocessing", "spec", "state_dict"]
    assert read_network(tmp_path / "net.pt").spec == EXOTIC["gated"]


def test_state_dict_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    torch.save({"state_dict": {}}, tmp_path / "net.pt")
    with pytest.raises(WeightsError, match=r"net\.pt contains no spec"):
        read_network(tmp_path / "net.pt")


def test_written_state_dict_is_read_as_weights(tmp_path: Path) -> None:
    export(PLAIN, tmp_path / "one.pt", seed=5)
    export(PLAIN, tmp_path / "two.pt", weights=tmp_path / "one.pt")
    one, two = (read_network(tmp_path / f"{name}.pt") for name in ("one", "two"))
    assert torch.equal(one(images(PLAIN)), two(images(PLAIN)))


def test_traced_program_takes_any_number_of_images(tmp_path: Path) -> None:
    export(PLAIN, tmp_path / "net.pt2")
    assert torch.export.load(tmp_path / "net.pt2").module()(images(PLAIN, count=5)).shape == (5, 10)


def test_onnx_graph_is_valid_and_has_no_norms(tmp_path: Path) -> None:
    export(PLAIN, tmp_path / "net.onnx")
    graph = onnx.load(tmp_path / "net.onnx")
    onnx.checker.check_model(graph, full_check=True)
    assert "BatchNormalization" not in {node.op_type for node in graph.graph.node}


def test_source_runs_without_this_package(tmp_path: Path) -> None:
    spec = EXOTIC["gated"]
    model = lively(spec)
    for suffix in (".py", ".pt"):
        export(spec, tmp_path / f"net{suffix}", weights=saved(model, tmp_path))
    np.save(tmp_path / "images.npy", images(spec).numpy())
    program = (
        "import sys, torch, numpy, net\n"
        "model = net.network('net.pt').eval()\n"
        "numpy.save('answers.npy', model(torch.from_numpy(numpy.load('images.npy'))).detach().numpy())\n"
        "assert not [name for name in sys.modules if name.startswith('mnv2search')]\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", program], cwd=tmp_path, env={}, check=True, timeout=600)
    with torch.no_grad():
        expected = model(images(spec)).numpy()
    assert np.allclose(np.load(tmp_path / "answers.npy"), expected, rtol=1e-5, atol=1e-5)


def test_source_shows_one_row_a_convolution() -> None:
    text = source_of(build(PLAIN))
    assert (
        '    (   2, "depthwise",    96,    96, 3, 2, 1,     96, (1, 1, 1, 1), "batch", "relu6"),' in text.splitlines()
    )


def test_source_leaves_out_what_the_network_has_not() -> None:
    text = source_of(build(PLAIN))
    assert [
        word for word in ("Gate", "SplitConv2d", "PaddedConv2d", "GroupNorm", "avg_pool2d(x, self") if word in text
    ] == []


def test_source_refuses_another_side(tmp_path: Path) -> None:
    export(EXOTIC["same-even"], tmp_path / "net.py")
    namespace: dict[str, Callable[[], torch.nn.Module]] = {"__name__": "exported"}  # type: ignore[dict-item]
    exec((tmp_path / "net.py").read_text(), namespace)
    with pytest.raises(ValueError, match="the images are 33 x 33 px, but must be 32 x 32 px"):
        namespace["network"]()(torch.zeros(1, 3, 33, 33))


def test_names_with_quotes_stay_text(tmp_path: Path) -> None:
    spec = mobilenet_v2(name='a"""b\'c', resolution=32)
    assert export(spec, tmp_path / "net.py").max_relative_difference == 0


@every_suffix
def test_only_the_file_is_left(suffix: str, tmp_path: Path) -> None:
    export(PLAIN, tmp_path / f"net{suffix}")
    beside = ["net.pte.json"] if suffix == ".pte" else []
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"net{suffix}", *beside]


def test_same_seed_writes_the_same_weights(tmp_path: Path) -> None:
    for name in ("one", "two"):
        export(PLAIN, tmp_path / f"{name}.onnx", seed=3)
    assert (tmp_path / "one.onnx").read_bytes() == (tmp_path / "two.onnx").read_bytes()


def test_an_existing_file_is_kept(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text("mine")
    with pytest.raises(ExportError, match=r"net\.py exists"):
        export(PLAIN, tmp_path / "net.py")
    assert (tmp_path / "net.py").read_text() == "mine"


def test_an_existing_file_is_replaced_on_request(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text("mine")
    export(PLAIN, tmp_path / "net.py", force=True)
    assert "class Network" in (tmp_path / "net.py").read_text()


def test_unknown_suffix_names_the_known(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"unknown export format '\.caffe'") as caught:
        export(PLAIN, tmp_path / "net.caffe")
    assert {".pt", ".pt2", ".onnx", ".py", ".tflite", ".pte"} <= set(caught.value.known)


def test_a_missing_folder_is_an_export_error(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"net\.py cannot be written: No such file"):
        export(PLAIN, tmp_path / "none" / "net.py")


def test_a_name_that_no_file_can_have_is_told_as_it_was_given(tmp_path: Path) -> None:
    to = tmp_path / f"{'n' * 250}.py"  # the file that is written beside it has a longer name
    with pytest.raises(ExportError, match=r"n\.py cannot be written: File name too long") as raised:
        export(PLAIN, to)
    assert str(to) in raised.value.message


def test_weights_that_do_not_fit_write_nothing(tmp_path: Path) -> None:
    weights = saved(build(EXOTIC["gated"]), tmp_path)
    with pytest.raises(WeightsError, match="do not fit small"):
        export(PLAIN, tmp_path / "net.pt", weights=weights)
    assert not (tmp_path / "net.pt").exists()


def shifted(model: MobileNet, by: float) -> Callable[[Tensor], Tensor]:
    def run(x: Tensor) -> Tensor:
        answer = model(x)
        return answer + by * answer.abs().max()  # type: ignore[no-any-return]

    return run


def test_a_file_that_computes_something_else_is_not_kept(tmp_path: Path) -> None:
    model = lively(PLAIN)
    with pytest.raises(ExportError, match=r"differs from the network by 0\.0002 of its largest output"):
        write_checked(model, tmp_path / "net.x", seed=0, content=b"", load=lambda _: shifted(model, 2e-4))
    assert list(tmp_path.iterdir()) == []


def test_a_difference_within_tolerance_is_reported(tmp_path: Path) -> None:
    model = lively(PLAIN)
    report = write_checked(model, tmp_path / "net.x", seed=0, content=b"", load=lambda _: shifted(model, 5e-5))
    assert report.max_relative_difference == pytest.approx(5e-5, rel=0.01)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_missing_numbers_never_agree(value: float) -> None:
    found = difference(lively(PLAIN), lambda x: torch.full((len(x), 10), value), seed=0)
    assert found.max_relative_difference == found.rms_relative_difference == float("inf")


def test_another_shape_never_agrees() -> None:
    found = difference(lively(PLAIN), lambda x: torch.zeros(len(x), 11), seed=0)
    assert found.max_relative_difference == float("inf")


@pytest.mark.parametrize("name", names("exporter"))
def test_every_exporter_has_the_suffix_it_is_named_by(name: str) -> None:
    exporter: Exporter = load("exporter", name)()
    assert exporter.suffix == f".{name}"


def test_exporter_replaces_a_file(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text("mine")
    SourceExporter().export(PLAIN, weights=None, to=tmp_path / "net.py", seed=0)
    assert "class Network" in (tmp_path / "net.py").read_text()


OVERFULL = """
import resource, sys
from pathlib import Path
from mnv2search.errors import ExportError
from mnv2search.export import export
from mnv2search.spec.yaml.codec import load_spec
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    export(load_spec("mobilenet_v2_0.35_96"), Path(sys.argv[1]))
except ExportError as error:
    print(error.message)
"""


@pytest.mark.parametrize("suffix", [".pt", ".pt2"])
def test_a_disk_that_takes_no_more_is_told(suffix: str, tmp_path: Path) -> None:
    to = tmp_path / f"net{suffix}"
    done = subprocess.run(
        [sys.executable, "-c", OVERFULL, str(to)], capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, done.stderr
    assert f"{to} cannot be written" in done.stdout
    assert not list(tmp_path.iterdir())

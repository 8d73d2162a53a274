"""Files of weights that do not mean what they say."""

from __future__ import annotations

import json
import warnings
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from hostile_files import members, packed, saved, with_json
from model_specs import EXOTIC, mobilenet_v2
from torch import Tensor

from mnv2search.errors import SpecError, WeightsError
from mnv2search.export import export
from mnv2search.model.build import MobileNet, build
from mnv2search.model.weights.files import read_weights_file
from mnv2search.model.weights.load import load_weights
from mnv2search.model.weights.network_file import read_learned, read_network, read_spec, told_of
from mnv2search.spec.yaml.codec import dumps

PLAIN = EXOTIC["plain"]
CONFIG = "archive/data/weights/model_weights_config.json"
FIRST = "features.0.0.weight"
STATE = build(PLAIN, seed=0).state_dict()


def model() -> MobileNet:
    return build(PLAIN, seed=1)


def content(**changes: Any) -> dict[str, Any]:
    return {**told_of(PLAIN, None), "state_dict": dict(STATE), **changes}


@pytest.mark.parametrize("is_zip", [True, False], ids=["zip", "before-zip"])
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_what_torch_saves_is_read_alike(tmp_path: Path, is_zip: bool, protocol: int) -> None:
    value: dict[str, Any] = {
        "plain": [1, -(2**40), 2.5, None, True, "é", b"ab", (1, (2, 3)), {"a": []}],
        "ordered": OrderedDict(a=1),
        "counter": dict(Counter([3, 3])),
        "tensors": [torch.arange(6).reshape(2, 3).T, torch.tensor(2.0, dtype=torch.bfloat16), torch.zeros(0, 3)],
    }
    torch.save(value, tmp_path / "f.pt", pickle_protocol=protocol, _use_new_zipfile_serialization=is_zip)
    found = read_weights_file(tmp_path / "f.pt")
    assert isinstance(found, dict)
    assert [found[key] for key in ("plain", "ordered", "counter")] == [
        value[key] for key in ("plain", "ordered", "counter")
    ]
    assert all(
        torch.equal(one, other) and one.dtype == other.dtype
        for one, other in zip(found["tensors"], value["tensors"], strict=True)
    )


@pytest.mark.parametrize("is_zip", [True, False], ids=["zip", "before-zip"])
def test_a_whole_module_state_is_read(tmp_path: Path, is_zip: bool) -> None:
    network = model()
    state = network.state_dict(keep_vars=True)  # parameters, and the versions of layers as an attribute
    torch.save(state, tmp_path / "net.pth", _use_new_zipfile_serialization=is_zip)
    target = build(PLAIN, seed=5)
    load_weights(target, tmp_path / "net.pth")
    assert all(torch.equal(tensor, target.state_dict()[name]) for name, tensor in network.state_dict().items())


CHANGED_CONTENT: Mapping[str, tuple[dict[str, Any], str]] = {
    "number for a spec": ({"spec": 7}, "the spec in .* is int, not text"),
    "no spec": ({"spec": None}, "is NoneType, not text"),
    "no state dict": ({"state_dict": None}, "contains NoneType, not a state dict"),
    "list for a state dict": ({"state_dict": [1]}, "contains list, not a state dict"),
    "integer keys": ({"state_dict": {1: torch.zeros(1)}}, "one of its keys is 1"),
    "text for a tensor": ({"state_dict": {FIRST: "x"}}, f"{FIRST} is str, not a tensor"),
    "meta": ({"state_dict": {FIRST: torch.zeros(1, device="meta")}}, f"{FIRST} is a tensor without values"),
    "sparse": ({"state_dict": {FIRST: torch.eye(2).to_sparse()}}, f"{FIRST} is a tensor sparse"),
    "complex": ({"state_dict": {**STATE, FIRST: STATE[FIRST].cfloat()}}, f"{FIRST} is complex64"),
    "integers": ({"state_dict": {**STATE, FIRST: STATE[FIRST].char()}}, f"{FIRST} is int8"),
    "booleans": ({"state_dict": {**STATE, FIRST: STATE[FIRST].bool()}}, f"{FIRST} is bool"),
    "NaN": ({"state_dict": {**STATE, FIRST: STATE[FIRST] * float("nan")}}, f"1 with NaN or infinite values: {FIRST}"),
    "infinity": ({"state_dict": {**STATE, FIRST: STATE[FIRST] / 0}}, f"with NaN or infinite values: {FIRST}"),
    "too large for float32": (
        {"state_dict": {**STATE, FIRST: torch.full_like(STATE[FIRST], 1e300, dtype=torch.float64)}},
        f"with NaN or infinite values: {FIRST}",
    ),
    "repeated": (
        {"state_dict": {FIRST: torch.zeros(1).expand(2**40)}},
        "1099511627776 elements does not fit its storage of 1",
    ),
    "version": ({"mnv2search": {"a": 1}}, "has format dict"),
    "later version": ({"mnv2search": 2}, "has format 2"),
}


@pytest.mark.parametrize(("changes", "said"), CHANGED_CONTENT.values(), ids=CHANGED_CONTENT)
def test_a_file_with_the_wrong_content_is_refused(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    torch.save(content(**changes), tmp_path / "net.pt")
    with pytest.raises(WeightsError, match=said):
        read_network(tmp_path / "net.pt")


def test_quantized_weights_are_refused(tmp_path: Path) -> None:
    with warnings.catch_warnings(action="ignore"):  # torch 2.13 says that they are old
        quantized = torch.quantize_per_tensor(STATE[FIRST], 0.1, 0, torch.qint8)
    torch.save(content(state_dict={FIRST: quantized}), tmp_path / "net.pt")
    with pytest.raises(WeightsError, match=f"{FIRST} is a tensor quantized"):
        read_network(tmp_path / "net.pt")


def test_a_spec_with_problems_is_told_with_its_place(tmp_path: Path) -> None:
    torch.save(content(spec="mnv2search: 1\nblocks: 3\n"), tmp_path / "net.pt")
    with pytest.raises(SpecError, match=r"net\.pt:2"):
        read_spec(tmp_path / "net.pt")


def test_a_small_file_builds_no_large_network(tmp_path: Path) -> None:
    torch.save(content(spec=dumps(mobilenet_v2())), tmp_path / "net.pt")
    with pytest.raises(WeightsError, match=r"mobilenet_v2.*, which has [\d,]+ parameters: the file has"):
        read_network(tmp_path / "net.pt")


@pytest.mark.parametrize(
    "learned",
    [
        7,
        {},
        {"classes": "ab", "normalization": "unit"},
        {"classes": [1], "normalization": "unit"},
        {"classes": ["a"], "normalization": "none"},
        {"classes": ["a"], "normalization": []},
    ],
)
def test_classes_that_are_none_are_refused(tmp_path: Path, learned: object) -> None:
    torch.save(content(learned=learned), tmp_path / "net.pt")
    with pytest.raises(WeightsError, match="does not say which classes"):
        read_learned(tmp_path / "net.pt")


def counter_of(dtype: torch.dtype) -> dict[str, Tensor]:
    name = "features.0.1.num_batches_tracked"
    return {**STATE, name: torch.tensor(3, dtype=dtype)}


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.float32])
def test_a_counter_may_have_any_real_numbers(dtype: torch.dtype) -> None:
    target = model()
    load_weights(target, counter_of(dtype))
    assert target.state_dict()["features.0.1.num_batches_tracked"] == 3


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    path = tmp_path_factory.mktemp("program") / "net.pt2"
    export(PLAIN, path)
    return members(path.read_bytes())


def entry(config: Any) -> Any:
    return config["config"][FIRST]


CHANGED_CONFIG: Mapping[str, Callable[[Any], object]] = {
    "no config": lambda config: config.pop("config"),
    "list": lambda config: config.update(config=[1]),
    "no path": lambda config: entry(config).pop("path_name"),
    "path outside": lambda config: entry(config).update(path_name="../../../../etc/passwd"),
    "number for a path": lambda config: entry(config).update(path_name=7),
    "no description": lambda config: entry(config).update(tensor_meta=None),
    "pickled": lambda config: entry(config).update(use_pickle=1),
    "sparse": lambda config: entry(config)["tensor_meta"].update(layout=1),
    "dtype": lambda config: entry(config)["tensor_meta"].update(dtype=99),
    "list for a dtype": lambda config: entry(config)["tensor_meta"].update(dtype=[]),
    "wider dtype": lambda config: entry(config)["tensor_meta"].update(dtype=8),
    "huge": lambda config: entry(config)["tensor_meta"]["sizes"][0].update(as_int=2**50),
    "offset": lambda config: entry(config)["tensor_meta"]["storage_offset"].update(as_int=1),
    "symbolic": lambda config: entry(config)["tensor_meta"]["sizes"][0].update(as_int="print()"),
    "missing": lambda config: config["config"].pop(FIRST),
}


@pytest.mark.parametrize("change", CHANGED_CONFIG.values(), ids=CHANGED_CONFIG)
def test_a_lying_description_of_weights_is_refused(
    program: dict[str, bytes], tmp_path: Path, change: Callable[[Any], object]
) -> None:
    (tmp_path / "net.pt2").write_bytes(packed(with_json(program, CONFIG, change)))
    with pytest.raises(WeightsError, match=r"net\.pt2|do not fit"):
        read_network(tmp_path / "net.pt2")


@pytest.mark.parametrize(
    "told", [b"", b"[1]", b"{" * 9999, b"\xff", b'{"mnv2search": 1}', b'{"mnv2search": 1, "spec": 7}']
)
def test_a_program_that_says_nothing_of_its_network_is_refused(
    program: dict[str, bytes], tmp_path: Path, told: bytes
) -> None:
    (tmp_path / "net.pt2").write_bytes(packed({**program, "archive/extra/mnv2search.json": told}))
    with pytest.raises(WeightsError):
        read_network(tmp_path / "net.pt2")


def test_a_program_holds_the_weights_that_were_written(program: dict[str, bytes], tmp_path: Path) -> None:
    (tmp_path / "net.pt2").write_bytes(packed(program))
    state = read_network(tmp_path / "net.pt2").state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in STATE.items())
    assert json.loads(program["archive/extra/mnv2search.json"])["mnv2search"] == 1


def test_a_torchscript_program_is_told_apart(tmp_path: Path) -> None:
    (tmp_path / "net.pt").write_bytes(packed({**members(saved(1)), "archive/constants.pkl": b"\x80\x02)."}))
    with pytest.raises(WeightsError, match="TorchScript"):
        load_weights(model(), tmp_path / "net.pt")

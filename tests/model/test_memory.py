"""Networks that take more memory than there is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mnv2search.cost import cost_of
from mnv2search.errors import OptionError
from mnv2search.model.build import build
from mnv2search.model.memory import check_memory, memory_bytes
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.spec.plan import plan
from mnv2search.spec.yaml.codec import load_spec, loads

Run = Callable[..., Any]
WIDE = "mnv2search: 1\nname: wide\nresolution: 32\nhead: {classes: 10}\nblocks:\n"
WIDE += "  - {t: 8, c: 8192, n: 500, s: 1, operator: fused}\n"
HIGH = "mnv2search: 1\nname: high\nresolution: 4096\nhead: {classes: 10}\nblocks:\n  - {t: 2, c: 32768, n: 2, s: 1}\n"


def test_a_network_that_no_memory_holds_is_not_built() -> None:
    spec = loads(WIDE)
    assert isinstance(spec, ModelSpec)
    with pytest.raises(OptionError, match=r"wide needs at least [\d,]+\.\d GB of memory, but only"):
        build(spec, seed=0)


@pytest.mark.parametrize("words", [["-o", "net.onnx"], []], ids=["written", "counted"])
@pytest.mark.parametrize("text", [WIDE, HIGH], ids=["weights", "maps"])
def test_a_network_that_no_memory_holds_is_not_compiled(
    run: Run, tmp_path: Path, text: str, words: list[str]
) -> None:
    (tmp_path / "net.yaml").write_text(text)
    done = run("compile", "net.yaml", *words)
    assert done.code == 2
    assert "GB of memory" in done.err
    assert "fewer channels" in done.err
    assert not (tmp_path / "net.onnx").exists()


def test_weights_and_maps_are_counted() -> None:
    laid_out = plan(load_spec("mobilenet_v2"))
    cost = cost_of(laid_out)
    needed = 2 * 4 * cost.params + 3 * cost.peak_activation_bytes
    check_memory(laid_out, copies=2, images=3, available_bytes=needed)
    with pytest.raises(OptionError):
        check_memory(laid_out, copies=2, images=3, available_bytes=needed - 1)


def test_this_machine_has_memory() -> None:
    assert memory_bytes() > 1e8

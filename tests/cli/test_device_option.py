"""`--device` and `--precision` become the text of one device."""

from __future__ import annotations

import pytest

from mnv2search.errors import OptionError
from mnv2search.latency.device_text import with_precision


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("litert", "litert:precision=int8"),
        ("litert:threads=2", "litert:threads=2,precision=int8"),
        ("litert@ssh://pi@board:22", "litert:precision=int8@ssh://pi@board:22"),
        ("litert:precision=int8", "litert:precision=int8"),
    ],
)
def test_the_precision_joins_the_options_of_the_device(text: str, expected: str) -> None:
    assert with_precision(text, "int8") == expected


def test_two_precisions_contradict_each_other() -> None:
    with pytest.raises(OptionError, match="contradicts --device litert:precision=fp16"):
        with_precision("litert:precision=fp16", "int8")

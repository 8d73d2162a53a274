"""CPU frequency settings, read from the files of Linux or without any."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from mnv2search.latency.measuring.frequency_scaling import FrequencyScaling, frequency_scaling

CPU = "devices/system/cpu"
INTEL = {
    f"{CPU}/cpu0/cpufreq/scaling_governor": "powersave\n",
    f"{CPU}/cpu0/cpufreq/scaling_max_freq": "1800000\n",
    f"{CPU}/cpu0/cpufreq/cpuinfo_max_freq": "4200000\n",
    f"{CPU}/cpu0/thermal_throttle/core_throttle_count": "3\n",
    f"{CPU}/cpu1/cpufreq/scaling_governor": "performance\n",
    f"{CPU}/cpu1/cpufreq/scaling_max_freq": "4200000\n",
    f"{CPU}/cpu1/cpufreq/cpuinfo_max_freq": "4200000\n",
    f"{CPU}/cpu1/thermal_throttle/core_throttle_count": "4\n",
    f"{CPU}/cpufreq/policy0/scaling_governor": "powersave\n",
    f"{CPU}/intel_pstate/no_turbo": "0\n",
}


def written(root: Path, files: Mapping[str, str]) -> str:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return str(root)


def test_the_files_of_a_laptop_are_read(tmp_path: Path) -> None:
    assert frequency_scaling(written(tmp_path, INTEL)) == FrequencyScaling(
        governors=("performance", "powersave"), max_khz=4_200_000, capped=1, throttled=7, limits=(), has_boost=True
    )


@pytest.mark.parametrize(
    ("text", "limits"),
    [
        ("50005", ("low voltage", "throttling")),
        ("0x50000", ()),
        ("8\n", ("the soft temperature limit",)),
        ("error", ()),
    ],
    ids=["now", "earlier only", "soft limit", "unreadable"],
)
def test_a_raspberry_pi_reports_its_limits(tmp_path: Path, text: str, limits: tuple[str, ...]) -> None:
    sys = written(tmp_path, {"devices/platform/soc/soc:firmware/get_throttled": text})
    assert frequency_scaling(sys).limits == limits


@pytest.mark.parametrize(("text", "has_boost"), [("1", True), ("0", False), ("on", None)])
def test_other_drivers_report_boost(tmp_path: Path, text: str, has_boost: bool | None) -> None:
    assert frequency_scaling(written(tmp_path, {f"{CPU}/cpufreq/boost": text})).has_boost is has_boost


def test_a_machine_without_these_files_reports_nothing(tmp_path: Path) -> None:
    assert frequency_scaling(str(tmp_path / "none")) == FrequencyScaling(
        governors=(), max_khz=0, capped=0, throttled=None, limits=(), has_boost=None
    )

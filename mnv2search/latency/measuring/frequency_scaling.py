"""CPU frequency settings that disturb measurements, as Linux reports them."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from mnv2search.latency.runner.identity import SYS, governor, read_text

STEADY = "performance"
# Meaning of the lowest bits of get_throttled, which are about the present; others are about the time since the start.
# Source: Raspberry Pi documentation, vcgencmd get_throttled.
PI_STATES = ("low voltage", "a capped clock", "throttling", "the soft temperature limit")


@dataclass(frozen=True, slots=True, kw_only=True)
class FrequencyScaling:
    """The CPU frequency settings of a machine; what the system does not report is empty, 0 or None.

    Attributes:
        governors: the different frequency governors of the processors.
        max_khz: the highest clock of any processor, in kHz.
        capped: number of processors whose maximum clock is set below the hardware's limit.
        throttled: number of times that a core was throttled by heat since the machine was started.
        limits: present causes of throttling of a Raspberry Pi.
        has_boost: whether turbo clocks are on.
    """

    governors: tuple[str, ...]
    max_khz: int
    capped: int
    throttled: int | None
    limits: tuple[str, ...]
    has_boost: bool | None


def frequency_scaling(sys: str = SYS) -> FrequencyScaling:
    """The CPU frequency settings of this machine; `sys` is the folder of sysfs."""
    root = os.path.join(sys, "devices", "system", "cpu")
    names = [name for name in _names(root) if re.fullmatch(r"cpu\d+", name)]
    cores = [os.path.join(root, name) for name in names]
    limits = [
        (_number(core, "cpufreq/scaling_max_freq"), _number(core, "cpufreq/cpuinfo_max_freq")) for core in cores
    ]
    throttled = [n for core in cores if (n := _number(core, "thermal_throttle/core_throttle_count")) is not None]
    return FrequencyScaling(
        governors=tuple(sorted({found for name in names if (found := governor(sys, name))})),
        max_khz=max((most or 0 for _, most in limits), default=0),
        capped=sum(limit is not None and most is not None and limit < most for limit, most in limits),
        throttled=sum(throttled) if throttled else None,
        limits=_pi_limits(sys),
        has_boost=_has_boost(root),
    )


def _pi_limits(sys: str) -> tuple[str, ...]:
    text = read_text(os.path.join(sys, "devices", "platform", "soc", "soc:firmware", "get_throttled")).strip()
    try:
        bits = int(text, 16)
    except ValueError:
        return ()
    return tuple(state for bit, state in enumerate(PI_STATES) if bits >> bit & 1)


def _has_boost(root: str) -> bool | None:
    """Whether turbo clocks are on. Source: Linux, Documentation/admin-guide/pm/cpufreq.rst and intel_pstate.rst."""
    if (off := _number(root, "intel_pstate/no_turbo")) is not None:
        return off == 0
    on = _number(root, "cpufreq/boost")
    return None if on is None else on == 1


def _number(folder: str, name: str) -> int | None:
    text = read_text(os.path.join(folder, name)).strip()
    return int(text) if re.fullmatch(r"\d{1,18}", text, re.ASCII) else None


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []

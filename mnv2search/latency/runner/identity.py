"""The properties of the machine: its model, processors, system, clock governor and temperature."""

from __future__ import annotations

import os
import platform
import subprocess
from typing import Dict, List, Optional, TypedDict

SYS = "/sys"
PROC = "/proc"
GETPROP = "/system/bin/getprop"
# Names of half-precision arithmetic in the Linux kernel: Arm v8.2 and Intel's AVX-512.
HALF = frozenset({"asimdhp", "avx512_fp16"})
# A sensor outside this range is broken, or measures something else.
COLDEST_C, HOTTEST_C = -20.0, 150.0


class Identity(TypedDict, total=False):
    """The properties of a machine; unknown properties are empty or None."""

    processor: str
    machine: str
    system: str
    cores: int
    governor: str
    temperature_c: Optional[float]


def identity() -> Identity:
    """The properties of this machine."""
    return {
        "processor": processor(),
        "machine": machine(),
        "system": system(),
        "cores": os.cpu_count() or 1,
        "governor": governor(),
        "temperature_c": temperature_c(),
    }


def processor(proc: str = PROC, architecture: str = "") -> str:
    """The model of the processor, as precisely as the system reports; `architecture` defaults to this machine's."""
    architecture = architecture or platform.machine()
    fields: Dict[str, str] = {}
    for line in read_text(os.path.join(proc, "cpuinfo")).splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key.strip(), value.strip())
    name = fields.get("model name") or fields.get("Hardware") or fields.get("Model") or ""
    if not name and "CPU part" in fields:
        name = f"{architecture} {fields.get('CPU implementer', '')}/{fields['CPU part']}"
    name = name or architecture
    family = [fields[key] for key in ("cpu family", "model", "stepping") if key in fields]
    return f"{name} ({'/'.join(family)})" if family else name


def machine(proc: str = PROC, sys: str = SYS) -> str:
    """The model of the board, phone or computer; empty if unknown."""
    board = read_text(os.path.join(proc, "device-tree", "model")).strip("\0 \n")
    if os.path.exists(GETPROP):
        return _phone() or board
    return board or read_text(os.path.join(sys, "class", "dmi", "id", "product_name")).strip()


def _phone() -> str:
    """Maker, model and chip of an Android device. Source: Android, ro.product.* and ro.soc.* properties."""
    names = []
    for name in ("ro.product.manufacturer", "ro.product.model", "ro.soc.model"):
        done = subprocess.run([GETPROP, name], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
        names.append(done.stdout.decode(errors="replace").strip())
    return " ".join(text for text in names if text)


def system() -> str:
    """The operating system and its version."""
    pretty = ""
    for line in read_text("/etc/os-release").splitlines():
        if line.startswith("PRETTY_NAME="):
            pretty = line.partition("=")[2].strip('"')
    kernel = f"{platform.system()} {platform.release()}"
    return f"{pretty}, {kernel}" if pretty else kernel


def governor(sys: str = SYS, core: str = "cpu0") -> str:
    """The frequency governor of a processor, such as ``performance``; empty if it cannot be read."""
    return read_text(os.path.join(sys, "devices", "system", "cpu", core, "cpufreq", "scaling_governor")).strip()


def temperature_c(sys: str = SYS) -> Optional[float]:
    """The highest temperature of the thermal zones, in degrees Celsius; None if none can be read."""
    folder = os.path.join(sys, "class", "thermal")
    try:
        zones = sorted(name for name in os.listdir(folder) if name.startswith("thermal_zone"))
    except OSError:
        return None
    temperatures: List[float] = []
    for zone in zones:
        text = read_text(os.path.join(folder, zone, "temp")).strip()
        try:
            degrees = float(text) / 1000
        except ValueError:
            continue
        if COLDEST_C < degrees < HOTTEST_C:
            temperatures.append(degrees)
    return max(temperatures) if temperatures else None


def read_text(path: str) -> str:
    """The content of a file; empty if it cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def computes_in_half(proc: str = PROC) -> bool:
    """Whether the processor has half-precision arithmetic, without conversion to single precision and back."""
    if platform.system() == "Darwin":
        return platform.machine() == "arm64"
    return not HALF.isdisjoint(read_text(os.path.join(proc, "cpuinfo")).split())


def half_refusal(runtime: str) -> str:
    """The reason why a runtime does not compute in half precision on this processor; empty if it does."""
    if computes_in_half():
        return ""
    return f"{runtime} computes in fp16 on processors with arithmetic for it only, and this is none"

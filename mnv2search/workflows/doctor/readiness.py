"""Whether devices and hosts can be used, judged by what is installed, without opening them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence

from mnv2search import plugins
from mnv2search.results.diagnosis import Extra, Readiness
from mnv2search.workflows.doctor.packages import Distribution, entry_points

# Devices whose package comes with the installation, and devices that need a GPU.
PACKAGES = {"onnxruntime": "onnxruntime", "torch": "torch", "simulated": ""}
ON_GPU = ("torch-cuda", "tensorrt")
# Packages whose names begin like this are dependencies of a torch that is built for CUDA.
CUDA_PARTS = ("nvidia-cuda-runtime", "nvidia-cublas", "cuda-toolkit")
# Install commands of OpenSSH's client by package manager.
SSH_COMMANDS = {
    "apt-get": "sudo apt-get install openssh-client",
    "dnf": "sudo dnf install openssh-clients",
    "apk": "sudo apk add openssh-client",
    "pacman": "sudo pacman -S openssh",
}
CUDA_COMMAND = "pip install --force-reinstall torch"
Which = Callable[[str], str | None]


def devices(
    present: Mapping[str, Distribution], extras: Sequence[Extra], gpus: Sequence[str], visible: str | None = None
) -> tuple[Readiness, ...]:
    """Every built-in device, then those of plug-ins; `visible` is the value of `$CUDA_VISIBLE_DEVICES`, or None."""
    by_extra = {extra.name: extra for extra in extras}

    def device(name: str) -> Readiness:
        if name in ON_GPU:
            return _on_gpu(name, present, gpus, visible)
        if name in by_extra:
            return _of_extra(name, by_extra[name])
        package = PACKAGES.get(name, "mnv2search")
        if not package or package in present:
            detail = _text(package, present) if package else "needs no package"
            return Readiness(name=name, is_ready=True, detail=detail, command="")
        return Readiness(
            name=name, is_ready=False, detail=f"{package} is not installed", command=f"pip install {package}"
        )

    return (*(device(name) for name in plugins.BUILT_IN["device"]), *_of_plug_ins(present))


def _of_plug_ins(present: Mapping[str, Distribution]) -> Iterator[Readiness]:
    for name, package in entry_points(present, "mnv2search.devices").items():
        if name not in plugins.BUILT_IN["device"]:
            yield Readiness(
                name=name, is_ready=True, detail=f"plug-in of {_text(package, present)}, not tried", command=""
            )


def hosts(extras: Sequence[Extra], which: Which = shutil.which) -> tuple[Readiness, ...]:
    """The programs that connect to other machines."""
    adb = next((extra for extra in extras if extra.name == "adb"), None)
    ready = {"ssh": _ssh(which)}
    if adb is not None:
        found = _of_extra("adb", adb)
        program = which("adb")
        detail = f"{found.detail}, {program or 'with its own adb program'}" if found.is_ready else found.detail
        ready["adb"] = Readiness(name="adb", is_ready=found.is_ready, detail=detail, command=found.command)
    return tuple(ready.values())


def is_built_for_cuda(present: Mapping[str, Distribution]) -> bool:
    """Whether the installed torch is built for CUDA, judged by its version or its dependencies."""
    if (torch := present.get("torch")) is None:
        return False
    local = torch.version.partition("+")[2]
    return local.startswith("cu") if local else any(name.startswith(CUDA_PARTS) for name in present)


def _ssh(which: Which) -> Readiness:
    if path := which("ssh"):
        return Readiness(name="ssh", is_ready=True, detail=path, command="")
    command = next((text for manager, text in SSH_COMMANDS.items() if which(manager)), "")
    return Readiness(name="ssh", is_ready=False, detail="there is no ssh program on the PATH", command=command)


def _of_extra(name: str, extra: Extra) -> Readiness:
    if extra.is_complete:
        detail = ", ".join(f"{package.name} {package.version}" for package in extra.packages)
        return Readiness(name=name, is_ready=True, detail=detail, command="")
    return Readiness(name=name, is_ready=False, detail=unmet_text(extra), command=extra.command)


def unmet_text(extra: Extra) -> str:
    """The packages that an incomplete extra lacks."""
    return ", ".join(
        f"{package.name} {package.version or 'is not installed'}"
        + (f" is not {package.required}" if package.version else "")
        for package in extra.packages
        if not package.is_met
    )


def _on_gpu(name: str, present: Mapping[str, Distribution], gpus: Sequence[str], visible: str | None) -> Readiness:
    detail = command = ""
    if not gpus:
        detail = "no NVIDIA GPU is visible"
    elif visible is not None and visible.strip() in ("", "-1"):
        detail, command = "CUDA_VISIBLE_DEVICES hides the GPUs", "unset CUDA_VISIBLE_DEVICES"
    elif not is_built_for_cuda(present):
        detail, command = f"{_text('torch', present)} is not built for CUDA", CUDA_COMMAND
    elif name == "tensorrt" and "tensorrt" not in present:
        detail, command = "tensorrt is not installed", "pip install tensorrt"
    if detail:
        return Readiness(name=name, is_ready=False, detail=detail, command=command)
    packages = ("torch", "tensorrt") if name == "tensorrt" else ("torch",)
    versions = ", ".join(_text(package, present) for package in packages)
    return Readiness(name=name, is_ready=True, detail=f"{versions} on {', '.join(gpus)}", command="")


def _text(package: str, present: Mapping[str, Distribution]) -> str:
    found = present.get(package)
    return f"{package} {found.version}" if found else package

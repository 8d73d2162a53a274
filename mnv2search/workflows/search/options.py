"""Options of a search, named as on the command line, and their default values."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

from mnv2search.spec.space import SearchSpace
from mnv2search.workflows.search.ray_workers import LOCAL

# Options allowed with `resume`; all others are in the folder's manifest.
WITH_RESUME = {
    "resume",
    "trust",
    "trials",
    "time",
    "output_dir",
    "confirm",
    "storage",
    "workers",
    "weights_store",
    "launcher",
}


class RunOptions(TypedDict, total=False):
    """Options of `mnv2search run`, with the same names; `DEFAULTS` has the default values other than None.

    Attributes:
        latency_ms: upper limit of the measured latency.
        latency_min_ms: lower limit of the measured latency.
        params: upper limit of parameters.
        madds: upper limit of multiply-adds.
        peak_kb: upper limit of peak activation memory in kB, fp32.
        size_kb: upper limit of weights in kB, fp32.
        space: file or bundled name of the search space, or a space.
        round_to: multiple to which channel counts are rounded, or ``auto``; None keeps that of the space.
        device: see `open_device`; several form a pool.
        precision: precision of weights and activations; None takes that of `device`.
        data: images to search on.
        accuracy: see `open_evaluator`; None chooses by `data` and the task of the space.
        from_: initial weights for an evaluator that trains (``--from``): a file, a name of `mnv2search weights
            list`, or ``imagenet`` for the published weights that fit the space best.
        from_spec: network to which the published weights of `from_` belong.
        finetune: train the most accurate networks separately at the end; None does so with `data`, but if every
            candidate is trained, only for a `time` of 15 minutes or more.
        trials: networks to evaluate.
        time: wall time in seconds, or text such as ``90s``, ``20m`` or ``1h30m``.
        sampler: ``hybrid``, or one of Optuna's.
        seed: random seed of the search.
        name: name of the run's folder; None makes a name from space, budget and device.
        resume: name or folder of an interrupted run to continue.
        trust: with `resume`, open what the folder names even if someone else made it.
        output_dir: folder that holds the folders of runs.
        confirm: compare the front with the official converter of the runtime at the end; None does so unless a
            resumed run was started without it.
        force: start over if the folder holds another run.
        workers: number of worker processes on this machine that evaluate the networks; None evaluates them in this
            process or, with `storage`, in one worker process.
        storage: storage where workers (`mnv2search worker`) join the run: a file for SQLite (this machine only)
            or, for other machines, a URL such as ``postgresql://USER:PASSWORD@HOST/DATABASE`` or
            ``grpc://HOST:PORT``.
        weights_store: folder or fsspec URL in which the shared weights of a supernet are kept for workers; None takes
            the folder of the run.
        launcher: where the workers run: ``local``, or ``ray:cpus=N,gpus=N,only=ROLE`` for tasks of a Ray cluster.
    """

    latency_ms: float | None
    latency_min_ms: float | None
    params: int | None
    madds: int | None
    peak_kb: float | None
    size_kb: float | None
    space: str | SearchSpace
    round_to: str | int | None
    device: str | Sequence[str]
    precision: str | None
    data: str | Path | None
    accuracy: str | None
    from_: str | Path | None
    from_spec: str | None
    finetune: bool | None
    trials: int | None
    time: float | str | None
    sampler: str
    seed: int
    name: str | None
    resume: str | Path | None
    trust: bool
    output_dir: str | Path
    confirm: bool | None
    force: bool
    workers: int | None
    storage: str | None
    weights_store: str | None
    launcher: str


DEFAULTS: RunOptions = {
    "space": "mnv2",
    "device": "onnxruntime",
    "sampler": "hybrid",
    "seed": 0,
    "trust": False,
    "output_dir": "results",
    "force": False,
    "launcher": LOCAL,
}

"""Search the MobileNetV2 family for networks that run within a measured latency budget.

Every public name is loaded when it is first used: importing the package loads neither torch nor optuna.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

import mnv2search.latency.runner  # noqa: F401 - disables telemetry before any library is imported

if TYPE_CHECKING:
    from mnv2search.accuracy.evaluator import AccuracyEvaluator, Evaluator
    from mnv2search.accuracy.registry import open_evaluator
    from mnv2search.accuracy.types import Accuracy
    from mnv2search.cost import Cost, cost_of
    from mnv2search.errors import Mnv2SearchError, SpecError
    from mnv2search.evaluation import Budget, Evaluation, evaluate_spec
    from mnv2search.latency.registry import open_device
    from mnv2search.latency.types import DeviceInfo, Latency, LatencyDevice
    from mnv2search.model.build import build
    from mnv2search.pareto import front, hypervolume
    from mnv2search.results.outcome import Outcome
    from mnv2search.results.records import read_records
    from mnv2search.spec.model_spec import BlockSpec, ModelSpec
    from mnv2search.spec.plan import Plan, plan
    from mnv2search.spec.space import SearchSpace, resolve
    from mnv2search.spec.yaml.codec import dumps, load, loads
    from mnv2search.study.types import SearchResult
    from mnv2search.workflows.compile import compile
    from mnv2search.workflows.dashboard import dashboard
    from mnv2search.workflows.devices.measure import devices, measure
    from mnv2search.workflows.devices.probe import probe_device
    from mnv2search.workflows.devices.profile import audit_device, profile_device
    from mnv2search.workflows.diff import diff
    from mnv2search.workflows.doctor.diagnose import doctor
    from mnv2search.workflows.draw import draw
    from mnv2search.workflows.explain import explain
    from mnv2search.workflows.make_spec import make_spec
    from mnv2search.workflows.networks import catalog, check, costs
    from mnv2search.workflows.search.api import load_run, run, search
    from mnv2search.workflows.search.checks.ranking_audit import audit
    from mnv2search.workflows.search.checks.verify import verify
    from mnv2search.workflows.search.folder import repair_run
    from mnv2search.workflows.search.report.write import write_report
    from mnv2search.workflows.search.workers import join_run
    from mnv2search.workflows.training.api import train
    from mnv2search.workflows.training.describe_data import describe_data
    from mnv2search.workflows.training.evaluate import evaluate
    from mnv2search.workflows.training.predict import predict
    from mnv2search.workflows.training.scores import scores
    from mnv2search.workflows.training.supernet import train_supernet
    from mnv2search.workflows.weights import get_weights, list_weights

__all__ = [
    "Accuracy",
    "AccuracyEvaluator",
    "BlockSpec",
    "Budget",
    "Cost",
    "DeviceInfo",
    "Evaluation",
    "Evaluator",
    "Latency",
    "LatencyDevice",
    "Mnv2SearchError",
    "ModelSpec",
    "Outcome",
    "Plan",
    "SearchResult",
    "SearchSpace",
    "SpecError",
    "audit",
    "audit_device",
    "build",
    "catalog",
    "check",
    "compile",
    "cost_of",
    "costs",
    "dashboard",
    "describe_data",
    "devices",
    "diff",
    "doctor",
    "draw",
    "dumps",
    "evaluate",
    "evaluate_spec",
    "explain",
    "front",
    "get_weights",
    "hypervolume",
    "join_run",
    "list_weights",
    "load",
    "load_run",
    "loads",
    "make_spec",
    "measure",
    "open_device",
    "open_evaluator",
    "plan",
    "predict",
    "probe_device",
    "profile_device",
    "read_records",
    "repair_run",
    "resolve",
    "run",
    "scores",
    "search",
    "train",
    "train_supernet",
    "verify",
    "write_report",
]

_NAMES = {
    "accuracy.evaluator": ("AccuracyEvaluator", "Evaluator"),
    "accuracy.registry": ("open_evaluator",),
    "accuracy.types": ("Accuracy",),
    "cost": ("Cost", "cost_of"),
    "errors": ("Mnv2SearchError", "SpecError"),
    "evaluation": ("Budget", "Evaluation", "evaluate_spec"),
    "latency.registry": ("open_device",),
    "latency.types": ("DeviceInfo", "Latency", "LatencyDevice"),
    "model.build": ("build",),
    "pareto": ("front", "hypervolume"),
    "results.outcome": ("Outcome",),
    "results.records": ("read_records",),
    "spec.model_spec": ("BlockSpec", "ModelSpec"),
    "spec.plan": ("Plan", "plan"),
    "spec.space": ("SearchSpace", "resolve"),
    "spec.yaml.codec": ("dumps", "load", "loads"),
    "study.types": ("SearchResult",),
    "workflows.compile": ("compile",),
    "workflows.dashboard": ("dashboard",),
    "workflows.devices.measure": ("devices", "measure"),
    "workflows.devices.probe": ("probe_device",),
    "workflows.devices.profile": ("audit_device", "profile_device"),
    "workflows.diff": ("diff",),
    "workflows.doctor.diagnose": ("doctor",),
    "workflows.draw": ("draw",),
    "workflows.explain": ("explain",),
    "workflows.make_spec": ("make_spec",),
    "workflows.networks": ("catalog", "check", "costs"),
    "workflows.search.api": ("load_run", "run", "search"),
    "workflows.search.checks.ranking_audit": ("audit",),
    "workflows.search.checks.verify": ("verify",),
    "workflows.search.folder": ("repair_run",),
    "workflows.search.report.write": ("write_report",),
    "workflows.search.workers": ("join_run",),
    "workflows.training.api": ("train",),
    "workflows.training.describe_data": ("describe_data",),
    "workflows.training.evaluate": ("evaluate",),
    "workflows.training.predict": ("predict",),
    "workflows.training.scores": ("scores",),
    "workflows.training.supernet": ("train_supernet",),
    "workflows.weights": ("get_weights", "list_weights"),
}
_HOME = {name: module for module, names in _NAMES.items() for name in names}


def __getattr__(name: str) -> object:
    """Load a public name on first use (PEP 562)."""
    if name not in _HOME:
        raise AttributeError(f"module 'mnv2search' has no attribute {name!r}")
    value: object = getattr(importlib.import_module(f"mnv2search.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)

"""Fine-tune the best networks of a search, all for the same number of steps, and ship weights."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from mnv2search.accuracy.evaluator import Evaluator
from mnv2search.atomic import write_text
from mnv2search.errors import RecordError
from mnv2search.evaluation import Evaluation
from mnv2search.model.weights.network_file import Learned, read_learned, read_network
from mnv2search.results.finetuning import REPORT, Finetuned, finetuned_json, training_folder
from mnv2search.study.results import median_ms_of
from mnv2search.study.types import SearchResult
from mnv2search.tasks.metrics import Metrics, share
from mnv2search.training.checkpoint import write_network, write_whole
from mnv2search.training.distributed import own_device
from mnv2search.training.learner import Job
from mnv2search.training.progress import Progress, Trained
from mnv2search.training.throughput import LEAST_STEPS
from mnv2search.training.train import train
from mnv2search.training.trainer import BEST, LAST
from mnv2search.workflows.search.finetune_plan import SPARE_SHARE, Finetuning, Plan, plan_of
from mnv2search.workflows.search.outputs import front_path, write_spec

# Every training gets this much time, however little is left.
LEAST_S = 1.0


def finetune(
    request: Finetuning, *, on_progress: Callable[[str, Progress], None] = lambda _name, _progress: None
) -> Finetuned | None:
    """Train all networks for the same number of steps, and choose the best on the validation images.

    The network with the longest training is trained first, for its share of the time, and sets the number of steps
    of the others. A network that does not improve keeps its weights; a network whose training does not fit into the
    remaining time is left out. `on_progress` is called with the name of a network and the progress of its training.
    Returns None if there is too little time for any training.

    Raises:
        RecordError: there are no candidates, or the report of an interrupted run cannot be read.
        DataError: the data cannot be trained on.
        TrainingError: a training fails.
    """
    if not request.candidates:
        raise RecordError("there is no network to train", hint="search for longer")
    ends = request.clock() + (1 - SPARE_SHARE) * request.time_s
    plan = plan_of(request)
    return None if plan is None else _Trainings(request, plan, ends, on_progress).run()


class _Trainings:
    """The trainings of a plan, which must finish at time `ends` of the request's clock."""

    def __init__(
        self, request: Finetuning, plan: Plan, ends: float, on_progress: Callable[[str, Progress], None]
    ) -> None:
        self.request, self.plan, self.ends, self.on_progress = request, plan, ends, on_progress
        self.folder, self.clock = request.folder, request.clock
        self.steps, self.factor, self.device = plan.steps, plan.factor, own_device()
        self.batch = min(plan.recipe.batch, request.epoch_images)
        self.held_out: dict[str, Metrics] = {}
        self.notes: list[str] = []
        self.kept: list[str] = []

    def run(self) -> Finetuned | None:
        """Run all trainings; returns None if the first one shows that there is too little time for any."""
        plan = self.plan
        for place, evaluation in enumerate(plan.order):
            name, own = evaluation.spec.name, training_folder(self.folder, evaluation)
            left_s = self.ends - self.clock()
            if self.held_out and not (own / LAST).exists() and left_s < self.factor * plan.expected_s(evaluation) / 2:
                continue
            done = self._trained(place, left_s)
            if self.steps is None:
                if done.steps * self.batch < plan.fewest_images:  # slower than a few steps had suggested
                    shutil.rmtree(own)
                    return None
                self.steps = done.steps
                begun = {"steps": done.steps, "recipe": plan.recipe.name, "count": len(plan.order)}
                write_text(self.folder / REPORT, json.dumps(begun) + "\n")
            if done.steps < self.steps:
                self.notes.append(f"{name}: ended after {done.steps} of {self.steps} steps, as the time was over")
            if done.steps >= LEAST_STEPS or not self.factor:
                self.factor = done.seconds * self.steps / done.steps / plan.expected_s(evaluation)
            self.held_out[name] = self._kept(evaluation, done.best) or done.best
        return self._finished()

    def _trained(self, place: int, left_s: float) -> Trained:
        plan, evaluation = self.plan, self.plan.order[place]
        spec, parts, steps = evaluation.spec, plan.parts(evaluation.spec), self.steps
        task, data = self.request.task, self.request.data
        expected_s = [plan.expected_s(e) for e in plan.order[place:]]
        tested = len(parts.examples["test"]) / len(parts.examples["val"])
        job = Job(
            folder=training_folder(self.folder, evaluation),
            seed=plan.seed,
            data=data.fingerprint,
            device=self.device,
            precision="float32",  # a trial of speed may end one way for one network and another for the next
            steps=steps,
            time_s=None if steps is not None else max(LEAST_S, left_s * expected_s[0] / sum(expected_s)),
            limit_s=None if steps is None else max(LEAST_S, left_s - self.factor * sum(expected_s[1:])),
            after=tested / len(plan.order) if steps is None else tested,
            evaluations=task.length.evaluations,
            on_progress=lambda progress: self.on_progress(spec.name, progress),
            on_note=lambda text: self.notes.append(f"{spec.name}: {text}"),
            clock=self.clock,
        )
        train_part, val = parts.examples["train"], parts.examples["val"]
        return train(plan.begin(spec), task, train_part, val, parts.recipe, job, classes=data.classes)

    def _kept(self, evaluation: Evaluation, trained: Metrics) -> Metrics | None:
        """The previous metrics of a network if it keeps its weights because training did not improve it."""
        had, evaluator, spec = evaluation.accuracy, self.request.evaluator, evaluation.spec
        if had is None or evaluator is None or had.value <= trained.main.value:
            return None
        best = training_folder(self.folder, evaluation) / BEST
        if evaluator.method == "training":
            write_whole(best, evaluator.trained_weights(spec).read_bytes())
        elif had.kind == "inherited" and evaluator.is_full_size():
            write_network(best, evaluator.member(spec), learned=evaluator.learned)
            self.kept.append(spec.name)
        else:
            return None
        self.notes.append(
            f"{spec.name}: not improved by training ({100 * trained.main.value:.1f} %); the earlier weights are kept"
        )
        loss = None if trained.loss is None else 0.0 if had.merit is None else -math.log(had.merit)
        main = share(trained.main.name, had.value, trained.count)
        return Metrics(main=main, count=trained.count, loss=loss, trivial=had.commonest)

    def _finished(self) -> Finetuned:
        plan, steps, candidates = self.plan, self.steps, self.request.candidates
        assert steps is not None
        if len(self.held_out) < len(candidates):
            self.notes.append(
                f"{len(self.held_out)} of {len(candidates)} networks were trained on their own: more --time "
                "trains more"
            )
        networks = tuple(e for e in candidates if e.spec.name in self.held_out)
        metrics = tuple(self.held_out[e.spec.name] for e in networks)
        best = max(range(len(networks)), key=lambda i: (*_merit(metrics[i]), -median_ms_of(networks[i])))
        weights = training_folder(self.folder, networks[best]) / BEST
        found = Finetuned(
            recipe=plan.recipe.name,
            networks=networks,
            held_out=metrics,
            steps=steps,
            images=steps * self.batch,
            best=best,
            test=self._tested(weights),
            weights=weights,
            notes=tuple(self.notes),
            kept=tuple(self.kept),
        )
        write_text(self.folder / REPORT, json.dumps(finetuned_json(found), indent=2) + "\n")
        return found

    def _tested(self, weights: Path) -> Metrics:
        network, task = read_network(weights), self.request.task
        classes, normalization = self.request.data.classes, self.plan.recipe.normalization
        learned = read_learned(weights) or Learned(classes=classes, normalization=normalization)
        examples = self.plan.parts(network.spec).examples
        found = task.evaluate(network.to(self.device), examples["test"], learned, device=self.device)
        return task.compared(found, examples["train"], examples["test"], learned.classes)


def _merit(metrics: Metrics) -> tuple[bool, float]:
    """The main metric, or the loss if the main metric does not beat a trivial answer."""
    if metrics.beats_trivial or metrics.loss is None:
        return True, metrics.main.value
    return False, -metrics.loss


def ship_trained(folder: Path, result: SearchResult, evaluator: Evaluator) -> None:
    """Write the weights of each front member beside its spec, and those of the network to ship as ``ship.pt``.

    Weights of an earlier front and of networks that are not on this front are removed.
    """
    sources = {e.spec: source for e in result.front if (source := evaluator.weights_file(e.spec)) is not None}
    targets = {front_path(folder, e, suffix=".pt"): e.spec for e in result.front}
    for stale in set((folder / "front").glob("*.pt")) - set(targets):
        stale.unlink()
    (folder / "ship.pt").unlink(missing_ok=True)
    if result.ship is not None:
        targets[folder / "ship.pt"] = result.ship.spec
    for target, spec in targets.items():
        if spec in sources:
            write_whole(target, sources[spec].read_bytes())
    for parent in {source.parent for source in sources.values()}:
        for other in set(parent.glob("*.pt")) - set(sources.values()):
            other.unlink()


def write_inherited(folder: Path, front: Sequence[Evaluation], evaluator: Evaluator) -> None:
    """Write the shared weights of each front member beside its spec."""
    for evaluation in front:
        member = evaluator.member(evaluation.spec)
        write_network(front_path(folder, evaluation, suffix=".pt"), member, learned=evaluator.learned)


def ship_finetuned(folder: Path, found: Finetuned) -> None:
    """Write the best fine-tuned network to ``ship.yaml`` and ``ship.pt``, and all of them to ``front``."""
    for evaluation in found.trained:
        write_spec(front_path(folder, evaluation), evaluation)
        trained = training_folder(found.weights.parent.parent, evaluation) / BEST
        write_whole(front_path(folder, evaluation, suffix=".pt"), trained.read_bytes())
    write_whole(folder / "ship.pt", found.weights.read_bytes())
    write_spec(folder / "ship.yaml", found.trained[found.best])

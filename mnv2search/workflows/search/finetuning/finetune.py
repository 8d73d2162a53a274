"""Train the best networks of a search and the obvious networks in rounds, and the best of all for longest."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from mnv2search.atomic import write_text
from mnv2search.cost import cost_of
from mnv2search.errors import RecordError
from mnv2search.evaluation import Evaluation
from mnv2search.model.build import MobileNet, build
from mnv2search.model.weights.network_file import Learned, read_learned, read_network
from mnv2search.recipe import Recipe, load_recipe
from mnv2search.results.finetuning import (
    REPORT,
    Agreement,
    Compared,
    Finetuned,
    FinetuneReport,
    Rung,
    agreement_of,
    finetuned_json,
    read_report,
    training_folder,
)
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.tasks.metrics import Metrics, share
from mnv2search.training.checkpoint import write_network, write_whole
from mnv2search.training.distributed import own_device
from mnv2search.training.good_state import DivergedError
from mnv2search.training.learner import Job
from mnv2search.training.progress import Progress, Trained
from mnv2search.training.resumption import BEST
from mnv2search.training.train import train
from mnv2search.workflows.search.finetuning.entrant import Entrant, merit
from mnv2search.workflows.search.finetuning.plan import (
    DECODING_SHARE,
    FEWEST_STEPS,
    LEAST_STEPS,
    Decoded,
    Finetuning,
    by_latency,
    halved,
    in_turn,
    most_steps,
    rounds_of,
    speed_of,
    steps_within,
)

# Share of the time that is reserved for writing files and for delays, and its maximum.
SPARE_SHARE, SPARE_MOST_S = 0.05, 10.0
# Every training gets this much time, however little is left.
LEAST_S = 1.0
# A training of a round ends if it takes this many times its expected time.
PATIENCE = 2.0
# Least likelihood of the search of which a loss is computed; smoothed likelihoods may be negative.
LEAST_MERIT = 1e-12
# Number of epochs after which no further improvement is expected.
LEARNING_EPOCHS = 12
# Folder of the longest training.
LONGEST = "longest"


def finetune(
    request: Finetuning, *, on_progress: Callable[[str, Progress], None] = lambda _name, _progress: None
) -> Finetuned | None:
    """Train networks in rounds, and then the best of them for the rest of the time.

    In each round, all networks take equal numbers of steps, and the better half enters the next round. Networks are
    ranked by the metrics that they are expected to reach if all of the remaining time is spent on them. If the better
    half has two or more networks, it contains a network of the space and an obvious network. Every training begins
    with the best weights of its network so far; if it does not improve them, they are kept. Networks for which there
    is too little time are left out. `on_progress` is called with the name of a network and the progress of its
    training. Returns None if there is too little time for any training.

    Raises:
        RecordError: there are no candidates, or the report of an interrupted run cannot be read.
        DataError: the data cannot be trained on.
        TrainingError: a training fails.

    Source: successive halving: Jamieson and Talwalkar, arXiv 1502.07943; warm restarts: Loshchilov and Hutter, arXiv
    1608.03983.
    """
    if not request.candidates:
        raise RecordError("there is no network to train", hint="search for longer")
    report = read_report(request.folder) or FinetuneReport()
    rounds = _Rounds(request, report, on_progress)
    if not report.is_begun and most_steps(request, rounds.batch) < FEWEST_STEPS:
        return None
    return rounds.run()


class _Rounds:
    def __init__(
        self, request: Finetuning, report: FinetuneReport, on_progress: Callable[[str, Progress], None]
    ) -> None:
        self.request, self.report, self.on_progress = request, report, on_progress
        self.rungs = list(report.rungs)
        self.begin = request.clock()
        self.ends = self.begin + request.time_s - min(SPARE_SHARE * request.time_s, SPARE_MOST_S)
        self.rounds_end = max(self.begin, self.ends - request.best_s)
        self.recipe = self._searched_recipe() or load_recipe(request.task.recipe_for(0))
        self.batch = min(self.recipe.batch, request.epoch_images)
        self.device, self.notes = own_device(), list[str]()
        self.decoded = Decoded(request, self.recipe)
        self.all = {e.spec.name: Entrant(e) for e in in_turn(request.candidates, request.obvious)}
        self.obvious = {e.spec.name for e in request.obvious}
        self.agreement: Agreement | None = None
        self.uncompared = "" if request.obvious else "no network of the MobileNetV2 grid is within the budget"

    def run(self) -> Finetuned | None:
        entered = self._entered()
        self.speed = speed_of(self.request, entered, self.decoded)
        if not self.report.is_begun:
            entered = self._fewer(entered)
        compared: Compared | None = None
        number = 0
        while len(entered) > 1 and not self._is_over(number, entered):
            entered = self._round(number, entered)
            self.agreement = self.agreement or self._agreement(entered)
            compared = self._compared(entered) or compared
            entered = self._going_on(number, entered)
            self.decoded.forget([e.spec for e in entered])
            number += 1
        best = self._last(entered)
        recipe, steps = self._train_longest(self.all[best.spec.name])
        return None if recipe is None else self._finished(best, recipe, steps, compared)

    def _entered(self) -> tuple[Evaluation, ...]:
        """The networks of the first round: those that entered it, or all that can be decoded in the time."""
        networks = [entrant.evaluation for entrant in self.all.values()]
        if self.report.is_begun:
            begun = self.rungs[0].networks if self.rungs else ()
            return tuple(e for e in networks if e.spec.name in begun) or tuple(networks[:1])
        ends = self.begin + DECODING_SHARE * (self.rounds_end - self.begin)
        return tuple(self.decoded.affordable(networks, ends=ends))

    def _fewer(self, networks: Sequence[Evaluation]) -> tuple[Evaluation, ...]:
        """As many networks as can each take enough steps in the first round; one if not even two can."""
        for count in range(len(networks), 1, -1):
            least = LEAST_STEPS if count > 2 else FEWEST_STEPS
            if self._steps(networks[:count], rounds_of(count)) >= least:
                break
        else:
            count = 1
            if len(networks) > 1 and self.request.obvious:
                self.uncompared = self._shortage_text(networks[:2])
        if left_out := len(self.all) - count:
            self.notes.append(
                f"{left_out} of {len(self.all)} networks were not trained separately, for lack of time; give more "
                "--time to train more"
            )
        return tuple(networks[:count])

    def _steps(self, networks: Sequence[Evaluation], rounds: int) -> int:
        """Steps of each network in the next of the remaining rounds, which share the time equally."""
        left_s = max(0.0, self.rounds_end - self.request.clock())
        return steps_within(networks, self.speed, time_s=left_s / rounds)

    def _shortage_text(self, networks: Sequence[Evaluation]) -> str:
        """The reason why two networks cannot be compared, with the time that a comparison would take."""
        madds = [cost_of(e.spec).madds for e in networks]
        needed_s = sum(self.speed.training_s(one, steps=FEWEST_STEPS, evaluations=1) for one in madds)
        left_s = max(0.0, self.rounds_end - self.request.clock())
        return (
            f"{FEWEST_STEPS} training steps of each network take about {needed_s:.0f} s, and only {left_s:.0f} s "
            "were left; give more --time"
        )

    def _round(self, number: int, networks: Sequence[Evaluation]) -> tuple[Evaluation, ...]:
        """Train all networks for the steps of a round; returns those whose training did not diverge."""
        if number == len(self.rungs):
            steps = self._steps(networks, rounds_of(len(networks)))
            self.rungs.append(Rung(steps=steps, networks=tuple(e.spec.name for e in networks)))
            self._write()
        steps, going_on, diverged = self.rungs[number].steps, list[Evaluation](), None
        for evaluation in networks:
            entrant = self.all[evaluation.spec.name]
            expected_s = self.speed.training_s(cost_of(evaluation.spec).madds, steps=steps, evaluations=1)
            job = self._job(entrant, f"round-{number + 1}", seed=self.request.seed + number)
            job = replace(job, steps=steps, limit_s=max(LEAST_S, PATIENCE * expected_s), evaluations=1)
            try:
                done = self._trained(entrant, job)
            except DivergedError as error:
                self.notes.append(f"{entrant.name} is left out: {error.message}")
                diverged = error
                continue
            going_on.append(evaluation)
            self.speed.took(
                max(done.seconds, 1e-9), madds=cost_of(evaluation.spec).madds, steps=done.steps, evaluations=1
            )
        if not going_on and diverged is not None:
            raise diverged
        return tuple(going_on)

    def _is_over(self, number: int, networks: Sequence[Evaluation]) -> bool:
        """Whether there is too little time for another round, or an interrupted run had no further round."""
        if not 0 < number == len(self.rungs):
            return False
        return bool(self.report.best) or self._steps(networks, rounds_of(len(networks))) < FEWEST_STEPS

    def _last(self, networks: Sequence[Evaluation]) -> Evaluation:
        """The network of the longest training: the one that an interrupted run chose, or the best."""
        if len(networks) == 1:
            return networks[0]
        known = (e for e in networks if e.spec.name == self.report.best)
        return next(known, None) or self._ranked(networks, is_last=True)[0]

    def _going_on(self, number: int, networks: Sequence[Evaluation]) -> tuple[Evaluation, ...]:
        """The networks of the next round, or of the longest training; a resumed run keeps those chosen earlier."""
        begun = self.rungs[number + 1].networks if number + 1 < len(self.rungs) else (self.report.best,)
        if known := tuple(e for e in networks if e.spec.name in begun):
            return known
        ranked = self._ranked(networks, is_last=len(networks) == 2)
        chosen = halved(ranked, self.request.obvious)
        first, *others = (self.all[e.spec.name] for e in ranked)
        if len(others) == 1 and merit(first.best) < merit(others[0].best):
            second = others[0].name
            self.notes.append(
                f"{first.name} is trained further, although {second} is better so far: {second} trains more slowly, "
                "or its initial weights were trained for longer in the search"
            )
        return chosen

    def _ranked(self, networks: Sequence[Evaluation], *, is_last: bool) -> list[Evaluation]:
        """Networks, best first: by loss, which is less noisy on few images; in the last round, by the main metric."""
        left_s, exponent = max(0.0, self.ends - self.request.clock()), self.request.task.learning_exponent
        most = LEARNING_EPOCHS * self.request.epoch_images

        def expected(evaluation: Evaluation) -> tuple[bool, float]:
            entrant, batch = self.all[evaluation.spec.name], self.batch
            return entrant.expected(left_s, batch=batch, most=most, exponent=exponent, by_loss=not is_last)

        return sorted(networks, key=expected, reverse=True)

    def _compared(self, networks: Sequence[Evaluation]) -> Compared | None:
        """The best of the space and the best obvious network after a round; None unless both exist."""
        ranked = self._ranked(networks, is_last=True)
        found = next((e for e in ranked if e.spec.name not in self.obvious), None)
        obvious = next((e for e in ranked if e.spec.name in self.obvious), None)
        if found is None or obvious is None:
            return None
        return Compared(
            steps=self.all[found.spec.name].steps,
            found=found.spec.name,
            obvious=obvious.spec.name,
            found_held_out=self.all[found.spec.name].best,
            obvious_held_out=self.all[obvious.spec.name].best,
        )

    def _agreement(self, networks: Sequence[Evaluation]) -> Agreement | None:
        """The correlation of the order of the search with that after a round."""
        known = [(e.accuracy.rank, self.all[e.spec.name].after) for e in networks if e.accuracy is not None]
        trained = [merit(after[0], by_loss=True)[1] for _, after in known if after]
        return agreement_of([rank for rank, _ in known], trained)

    def _train_longest(self, entrant: Entrant) -> tuple[Recipe | None, int]:
        """Train the best network for the rest of the time; returns the recipe, None if that is too little."""
        if (recipe := self._longest_recipe(entrant)) is None:
            return None, 0
        self._write(longest=recipe.name, best=entrant.name)
        if recipe != self.recipe:
            self.decoded = Decoded(self.request, recipe)
        parts = self.decoded.parts(entrant.evaluation.spec)
        job = self._job(entrant, LONGEST, seed=self.request.seed + rounds_of(len(self.all)))
        left_s = max(LEAST_S, self.ends - self.request.clock())
        after = len(parts.examples["test"]) / len(parts.examples["val"])
        try:
            done = self._trained(entrant, replace(job, time_s=left_s, limit_s=left_s, after=after))
        except DivergedError as error:
            if entrant.known is None:
                raise
            self.notes.append(f"{entrant.name} keeps its earlier weights: {error.message}")
            return recipe, 0
        return recipe, done.steps

    def _longest_recipe(self, entrant: Entrant) -> Recipe | None:
        """The recipe of the longest training; None if there is too little time even for a short one."""
        if self.report.longest and self._searched_recipe() is None:
            return load_recipe(self.report.longest)
        left_s = max(0.0, self.ends - self.request.clock())
        steps = steps_within([entrant.evaluation], self.speed, time_s=left_s)
        if not self.rungs and not self.report.longest and steps < FEWEST_STEPS:
            return None
        if self._searched_recipe() is not None:
            return self.recipe
        return load_recipe(self.request.task.recipe_for(steps * self.batch / self.request.epoch_images))

    def _trained(self, entrant: Entrant, job: Job) -> Trained:
        """Train a network from its best weights so far, and keep the better ones."""
        request = self.request
        spec, own = entrant.evaluation.spec, training_folder(request.folder, entrant.evaluation)
        if entrant.after is None:
            entrant.known, entrant.after = self._known(entrant), []
            entrant.seen = 0.0 if request.evaluator is None else request.evaluator.seen_images(spec)
        parts = self.decoded.parts(spec)
        train_part, val = parts.examples["train"], parts.examples["val"]
        model = read_network(own / BEST) if (own / BEST).exists() and entrant.known else self._initial(spec)
        done = train(model, request.task, train_part, val, parts.recipe, job, classes=request.data.classes)
        if job.steps is not None and done.steps < job.steps:
            self.notes.append(f"{spec.name}: ended after {done.steps} of {job.steps} steps, as the time was over")
        entrant.steps += done.steps
        entrant.images_per_s = done.images_per_s
        if entrant.known is None or merit(done.best) >= merit(entrant.known):
            entrant.known, entrant.is_kept = done.best, False
            write_whole(own / BEST, (job.folder / BEST).read_bytes())
        entrant.after.append(done.best)
        return done

    def _initial(self, spec: ModelSpec) -> MobileNet:
        evaluator, seed = self.request.evaluator, self.request.seed
        return build(spec, seed=seed) if evaluator is None else evaluator.begin(spec, seed=seed)

    def _known(self, entrant: Entrant) -> Metrics | None:
        """Write the weights that a network has from the search; returns their metrics, or None if it has none."""
        evaluation, evaluator = entrant.evaluation, self.request.evaluator
        had, spec = evaluation.accuracy, evaluation.spec
        if had is None or evaluator is None:
            return None
        best = training_folder(self.request.folder, evaluation) / BEST
        if evaluator.method == "training":
            write_whole(best, evaluator.trained_weights(spec).read_bytes())
        elif had.kind == "inherited" and evaluator.is_full_size():
            write_network(best, evaluator.member(spec), learned=evaluator.learned_of(spec))
            entrant.is_kept = True
        else:
            return None
        val = self.decoded.parts(spec).examples["val"]
        loss = None if had.merit is None else -math.log(max(had.merit, LEAST_MERIT))
        main = share(had.metric, had.value, len(val))
        return Metrics(main=main, count=len(val), loss=loss, trivial=had.commonest)

    def _searched_recipe(self) -> Recipe | None:
        """The recipe of the trainings of the search; None if it trained shared weights."""
        evaluator = self.request.evaluator
        return evaluator.recipe if evaluator is not None and evaluator.method == "training" else None

    def _job(self, entrant: Entrant, name: str, *, seed: int) -> Job:
        return Job(
            folder=training_folder(self.request.folder, entrant.evaluation) / name,
            seed=seed,
            data=self.request.data.fingerprint,
            device=self.device,
            precision="float32",  # a speed trial may choose another precision for each network
            on_progress=lambda progress: self.on_progress(entrant.name, progress),
            on_note=lambda text: self.notes.append(f"{entrant.name}: {text}"),
            clock=self.request.clock,
        )

    def _write(self, *, longest: str = "", best: str = "") -> None:
        """Write what has begun, for a resumed run."""
        rungs = [asdict(one) for one in self.rungs]
        begun = {"recipe": self.recipe.name, "rungs": rungs, "longest": longest, "best": best}
        write_text(self.request.folder / REPORT, json.dumps(begun) + "\n")

    def _finished(self, shipped: Evaluation, recipe: Recipe, longest: int, compared: Compared | None) -> Finetuned:
        trained = [e for e in self.all.values() if e.known is not None]
        networks = by_latency([e.evaluation for e in trained])
        entrants = [self.all[e.spec.name] for e in networks]
        best = self.all[shipped.spec.name]
        if longest and best.after and best.after[-1] != best.best:
            self.notes.append(
                f"{best.name}: not improved by its last {longest:,} steps; the earlier weights are kept"
            )
        weights = training_folder(self.request.folder, shipped) / BEST
        found = Finetuned(
            recipe=recipe.name,
            networks=networks,
            held_out=tuple(e.best for e in entrants),
            steps=tuple(e.steps for e in entrants),
            images=best.steps * self.batch,
            best=networks.index(shipped),
            test=self._tested(weights, recipe),
            weights=weights,
            notes=tuple(self.notes),
            kept=tuple(e.name for e in entrants if e.is_kept),
            obvious=tuple(e.name for e in entrants if e.name in self.obvious),
            compared=compared,
            uncompared="" if compared else self.uncompared,
            agreement=self.agreement,
        )
        write_text(
            self.request.folder / REPORT,
            json.dumps({**finetuned_json(found), "rungs": [asdict(rung) for rung in self.rungs]}, indent=2) + "\n",
        )
        return found

    def _tested(self, weights: Path, recipe: Recipe) -> Metrics:
        network, task = read_network(weights), self.request.task
        classes, normalization = self.request.data.classes, recipe.normalization
        learned = read_learned(weights) or Learned(classes=classes, normalization=normalization)
        examples = self.decoded.parts(network.spec).examples
        found = task.evaluate(network.to(self.device), examples["test"], learned, device=self.device)
        return task.compared(found, examples["train"], examples["test"], learned.classes)

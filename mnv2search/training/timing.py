"""What a step and an evaluation of a training take here."""

from __future__ import annotations

from contextlib import closing

from mnv2search.cost import cost_of
from mnv2search.training.progress import F
from mnv2search.training.speed import Timed
from mnv2search.training.trainer import B, Course

__all__ = ["TIMED_STEPS", "timed"]

# Steps that tell how fast a network is trained, after a first one.
TIMED_STEPS = 3


def timed(course: Course[B, F]) -> Timed:
    """Begin a training for a few steps and a part of an evaluation, the first of each aside; it is of no use then."""
    course.begin(steps=1 + TIMED_STEPS, epochs=None, time_s=None, precision="float32")
    with closing(course.batches_left()) as batches:
        course.make_step(next(batches))
        begin = course.clock()
        for _ in range(TIMED_STEPS):
            course.make_step(next(batches))
        step_s = (course.clock() - begin) / TIMED_STEPS
    course.judge_some(course.model)
    begin = course.clock()
    share = course.judge_some(course.model)
    evaluation_s = (course.clock() - begin) / share
    return Timed(madds=cost_of(course.model.spec).madds, step_s=step_s, evaluation_s=evaluation_s)

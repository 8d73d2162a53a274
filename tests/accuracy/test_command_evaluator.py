import os
import select
import shlex
import signal
import sys
from pathlib import Path

import pytest

from mnv2search.accuracy.evaluator import AccuracyEvaluator
from mnv2search.accuracy.evaluators.command import CommandEvaluator
from mnv2search.errors import EvaluatorError, OptionError
from mnv2search.spec.model_spec import BlockSpec, ModelSpec
from mnv2search.spec.yaml.codec import loads

SPEC = ModelSpec(name="two", blocks=(BlockSpec(channels=16), BlockSpec(channels=24, stride=2)), resolution=32)


def python(code: str) -> str:
    """A command that runs a line of Python, started as fast as Python starts."""
    return shlex.join([sys.executable, "-S", "-E", "-c", code])


def test_the_number_on_the_last_line_is_the_accuracy() -> None:
    found = CommandEvaluator(run=python("print('epoch 1'); print(0.75)")).evaluate(SPEC, seed=4)
    assert (found.value, found.low, found.high, found.kind, found.seed) == (0.75, 0.75, 0.75, "reported", 4)


def test_an_object_brings_its_interval() -> None:
    code = """print('{"value": 0.5, "low": 0.4, "high": 0.7}')"""
    found = CommandEvaluator(run=python(code), metric="mAP", dataset="mine").evaluate(SPEC, seed=0)
    assert (found.value, found.low, found.high, found.metric, found.dataset) == (0.5, 0.4, 0.7, "mAP", "mine")


def test_the_program_reads_the_spec_and_the_seed(tmp_path: Path) -> None:
    code = "import sys, shutil; shutil.copy(sys.argv[2], sys.argv[3]); print(int(sys.argv[1]) / 100)"
    run = f"{python(code)} {{seed}} {{spec}} {tmp_path / 'copy.yaml'}"
    assert CommandEvaluator(run=run).evaluate(SPEC, seed=42).value == 0.42
    assert loads((tmp_path / "copy.yaml").read_text(encoding="utf-8")) == SPEC


def test_the_spec_is_the_last_argument_where_no_place_is_named() -> None:
    code = "import sys; print(sys.argv[-1].endswith('spec.yaml') * 0.5)"
    assert CommandEvaluator(run=python(code)).evaluate(SPEC, seed=0).value == 0.5


def test_no_shell_reads_the_command() -> None:
    code = "import sys; print(('$HOME; exit 3' in sys.argv) * 1)"
    assert CommandEvaluator(run=python(code) + " '$HOME; exit 3'").evaluate(SPEC, seed=0).value == 1


@pytest.mark.parametrize(
    ("code", "what"),
    [
        (
            "import sys; print('no such file: train.csv', file=sys.stderr); sys.exit(3)",
            "exited with 3(.|\n)*train.csv",
        ),
        ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", "was ended by SIGTERM"),
        ("pass", "printed nothing"),
        ("print(0.5); print('done')", "printed 'done' as its last line"),
        ("print('NaN')", "NaN is not a number"),
        ("print('Infinity')", "Infinity is not a number"),
        ("print(71.8)", "71.8 is not from 0 to 1"),
        ("print(-0.1)", "-0.1 is not from 0 to 1"),
        ("print('true')", "True is not a number"),
        ("print('[0.5]')", r"\[0.5\] is not a number"),
        ("""print('{"accuracy": 0.5}')""", "'accuracy' is not one of value, low, high"),
        ("print('{}')", "'value' is missing"),
        ("""print('{"value": 0.5, "low": 0.6}')""", "not between low 0.6"),
        ("""print('{"value": null}')""", "None is not a number"),
    ],
)
def test_anything_but_one_ratio_is_an_error_that_says_what_was_printed(code: str, what: str) -> None:
    with pytest.raises(EvaluatorError, match=what) as caught:
        CommandEvaluator(run=python(code)).evaluate(SPEC, seed=0)
    assert "from 0 to 1" in caught.value.hint


def test_only_the_last_words_of_a_long_complaint_are_kept() -> None:
    code = "import sys; [print(i, file=sys.stderr) for i in range(99)]; sys.exit(1)"
    with pytest.raises(EvaluatorError, match=r"91\n92\n93\n94\n95\n96\n97\n98$") as caught:
        CommandEvaluator(run=python(code)).evaluate(SPEC, seed=0)
    assert "\n90\n" not in caught.value.message


def test_a_program_that_does_not_exist_is_named() -> None:
    with pytest.raises(EvaluatorError, match="'no-such-program' cannot be started: No such file"):
        CommandEvaluator(run="no-such-program {spec}").evaluate(SPEC, seed=0)


def test_time_up_kills_the_program_and_its_children(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    code = f"""
import os, signal, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = os.fork()
if child:
    with open({str(pids)!r}, 'w') as file:
        file.write(f'{{os.getpid()}} {{child}}')
    print('still at it', file=sys.stderr, flush=True)
signal.pause()
"""
    with pytest.raises(EvaluatorError, match=r"took longer than 1 s(.|\n)*still at it"):
        CommandEvaluator(run=python(code), timeout_s=1).evaluate(SPEC, seed=0)
    assert [_has_ended(int(pid)) for pid in pids.read_text().split()] == [True, True]


def _has_ended(pid: int) -> bool:
    """Whether a process has ended, or does so soon; one that waits for its parent has."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([handle], [], [], 600)[0])
    finally:
        os.close(handle)


def test_an_interrupt_kills_the_program_and_goes_on(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    code = f"""
import os, signal
with open({str(pid)!r}, 'w') as file:
    file.write(str(os.getpid()))
os.kill({os.getpid()}, signal.SIGINT)
signal.pause()
"""
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    with pytest.raises(KeyboardInterrupt):
        CommandEvaluator(run=python(code)).evaluate(SPEC, seed=0)
    assert _has_ended(int(pid.read_text()))


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"run": " "}, "is empty"),
        ({"run": "train 'it"}, "cannot be split"),
        ({"run": "train", "timeout_s": 0.0}, "timeout_s is 0"),
        ({"run": "train", "timeout_s": float("nan")}, "timeout_s is nan"),
        ({"run": "train", "timeout_s": 1e300}, r"timeout_s is 1e\+300"),
        ({"run": "train", "timeout_s": -1.0}, "timeout_s is -1"),
        ({"run": "train\0it"}, "NUL character"),
    ],
)
def test_options_that_cannot_work_are_refused_at_once(options: dict[str, object], what: str) -> None:
    with pytest.raises(OptionError, match=what):
        CommandEvaluator(**options)  # type: ignore[arg-type]


def test_the_info_names_what_opens_it_again() -> None:
    evaluator = CommandEvaluator(run="train.sh --fast", timeout_s=60)
    assert isinstance(evaluator, AccuracyEvaluator)
    assert evaluator.info.name == "command:timeout_s=60,run=train.sh --fast"
    assert evaluator.info.kind == "reported"


def test_no_file_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    CommandEvaluator(run=python("print(1)")).evaluate(SPEC, seed=0)
    assert os.listdir(tmp_path) == []

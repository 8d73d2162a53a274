from pathlib import Path

import pytest

from mnv2search.accuracy.evaluator import AccuracyEvaluator, StopEarly
from mnv2search.accuracy.evaluators.python import PythonEvaluator
from mnv2search.errors import EvaluatorError, OptionError
from mnv2search.spec.model_spec import BlockSpec, ModelSpec

SPEC = ModelSpec(name="one", blocks=(BlockSpec(channels=24),), resolution=32)
CODE = """
from mnv2search.accuracy.evaluator import StopEarly
from mnv2search.accuracy.types import Accuracy

not_a_function = 3

def by_seed(spec, seed):
    return seed / 10

def percent(spec, seed):
    return 71.8

def words(spec, seed):
    return "0.5"

def truth(spec, seed):
    return True

def nothing(spec, seed):
    return None

def fails(spec, seed):
    raise OSError("the camera is unplugged")

def leaves(spec, seed):
    raise SystemExit(0)

def huge(spec, seed):
    return 10**400

class Odd:
    def __float__(self):
        raise ZeroDivisionError("no number today")

    def __repr__(self):
        raise SystemExit(0)

def odd(spec, seed):
    return Odd()

def unprintable(spec, seed):
    return [Odd()]

def escapes(spec, seed):
    raise OSError("\x1b]52;c;AAAA\x07")

def interrupted(spec, seed):
    raise KeyboardInterrupt

def array(spec, seed):
    import numpy
    return numpy.array([0.5, 0.6])

def scalar(spec, seed):
    import numpy
    return numpy.float32(0.5)

def stops(spec, seed):
    raise StopEarly

def whole(spec, seed):
    return Accuracy(value=0.5, low=0.4, high=0.6, metric="mAP", kind="trained", dataset=spec.name)
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(CODE, encoding="utf-8")
    return path


def test_a_function_of_a_file_is_called_with_spec_and_seed(file: Path) -> None:
    evaluator = PythonEvaluator(function=f"{file}:by_seed", dataset="mine")
    found = evaluator.evaluate(SPEC, seed=3)
    assert isinstance(evaluator, AccuracyEvaluator)
    assert (found.value, found.kind, found.dataset, found.seed) == (0.3, "reported", "mine", 3)


def test_a_function_of_a_module_is_found(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(file.parent)
    assert PythonEvaluator(function="mine:by_seed").evaluate(SPEC, seed=5).value == 0.5


def test_an_accuracy_is_handed_on_as_it_is(file: Path) -> None:
    found = PythonEvaluator(function=f"{file}:whole").evaluate(SPEC, seed=0)
    assert (found.low, found.kind, found.dataset) == (0.4, "trained", "one")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("percent", "71.8"),
        ("words", "'0.5'"),
        ("truth", "True"),
        ("nothing", "None"),
        ("huge", "10{60}"),
        ("array", r"array\(\[0.5, 0.6\]\)"),
        ("unprintable", "<a list whose text raises SystemExit>"),
    ],
)
def test_anything_but_a_ratio_is_an_error(file: Path, name: str, told: str) -> None:
    with pytest.raises(EvaluatorError, match=f"{name} returned {told}"):
        PythonEvaluator(function=f"{file}:{name}").evaluate(SPEC, seed=0)


def test_what_the_function_raises_is_chained(file: Path) -> None:
    with pytest.raises(EvaluatorError, match="raised OSError: the camera is unplugged") as caught:
        PythonEvaluator(function=f"{file}:fails").evaluate(SPEC, seed=0)
    assert isinstance(caught.value.__cause__, OSError)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("leaves", "raised SystemExit: 0"),
        ("odd", "raised ZeroDivisionError: no number today"),
        ("escapes", r"raised OSError: \\x1b\]52;c;AAAA\\x07"),
    ],
)
def test_whatever_the_function_raises_is_an_error_of_the_evaluator(file: Path, name: str, told: str) -> None:
    with pytest.raises(EvaluatorError, match=told):
        PythonEvaluator(function=f"{file}:{name}").evaluate(SPEC, seed=0)


def test_an_interruption_stays_one(file: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        PythonEvaluator(function=f"{file}:interrupted").evaluate(SPEC, seed=0)


def test_a_numpy_scalar_is_a_number(file: Path) -> None:
    assert PythonEvaluator(function=f"{file}:scalar").evaluate(SPEC, seed=0).value == 0.5


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"def f(:\n", "SyntaxError"),
        (b"1 / 0\n", "ZeroDivisionError: division by zero"),
        (b"raise SystemExit(0)\n", "SystemExit: 0"),
        (b"f = '\xff'\n", "SyntaxError"),
        (b"None.f\n", "cannot be imported: AttributeError"),
        (b"f = 1\0\n", "null bytes"),
        (b"class E(BaseException): pass\nraise E('odd')\n", "E: odd"),
        (b"def __getattr__(name): raise OSError(name)\n", "cannot be imported: OSError"),
    ],
)
def test_a_file_that_cannot_be_imported_is_refused_at_once(tmp_path: Path, content: bytes, told: str) -> None:
    (tmp_path / "bad.py").write_bytes(content)
    with pytest.raises(OptionError, match=told):
        PythonEvaluator(function=f"{tmp_path / 'bad.py'}:f")


def test_a_request_to_stop_passes_through(file: Path) -> None:
    with pytest.raises(StopEarly):
        PythonEvaluator(function=f"{file}:stops").evaluate(SPEC, seed=0)


@pytest.mark.parametrize(
    ("function", "what"),
    [
        ("mine", "does not name a function"),
        (":f", "does not name a function"),
        ("no_such_module_anywhere:f", "cannot be imported"),
        ("no_such_file.py:f", "there is no file no_such_file.py"),
        ("{file}:f", "has no f"),
        ("{file}:not_a_function", "is not a function"),
    ],
)
def test_a_function_that_cannot_be_found_is_refused_at_once(file: Path, function: str, what: str) -> None:
    with pytest.raises(OptionError, match=what):
        PythonEvaluator(function=function.format(file=file))

from pathlib import Path

import pytest

from mnv2search.accuracy.registry import open_evaluator
from mnv2search.accuracy.types import Accuracy
from mnv2search.errors import Mnv2SearchError, OptionError, UnknownNameError


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("imagenet", "imagenet"),
        ("command:train.sh", "command:timeout_s=600,run=train.sh"),
        ("command:python train.py --tags a,b {spec}", "command:timeout_s=600,run=python train.py --tags a,b {spec}"),
        ("command:timeout_s=60,train.sh --lr=0.1", "command:timeout_s=60,run=train.sh --lr=0.1"),
        ("command:timeout_s=60,run=a=b c", "command:timeout_s=60,run=a=b c"),
        ("python:math:fmod", "python:math:fmod"),
        ("python:dataset=mine,function=math:fmod", "python:dataset=mine,math:fmod"),
        ("command:metric=miou,dataset=my set,x", "command:timeout_s=600,metric=miou,dataset=my set,run=x"),
    ],
)
def test_text_opens_an_evaluator(text: str, name: str) -> None:
    assert open_evaluator(text).info.name == name


def test_the_name_in_the_info_opens_the_same_again() -> None:
    info = open_evaluator("command:timeout_s=2.5,metric=mAP,train.sh").info
    assert open_evaluator(info.name).info.name == info.name


def test_options_reach_the_evaluator() -> None:
    info = open_evaluator("command:metric=mAP,dataset=boxes,train.sh").info
    assert (info.metric, info.dataset) == ("mAP", "boxes")


def test_a_table_is_a_path(tmp_path: Path) -> None:
    table = tmp_path / "a.csv"
    table.write_text("name,value\none,0.5\n", encoding="utf-8")
    assert open_evaluator(f"recorded:{table}").info.name == f"recorded:{table}"


@pytest.mark.parametrize(
    ("text", "error", "what"),
    [
        ("imagnet", UnknownNameError, "unknown evaluator 'imagnet'"),
        ("command:timeout=3,train.sh", UnknownNameError, "unknown option of evaluator command 'timeout'"),
        ("imagenet:width=1", UnknownNameError, "unknown option of evaluator imagenet 'width'"),
        ("command", OptionError, "command needs its run"),
        ("command:timeout_s=3", OptionError, "command needs its run"),
        ("command:timeout_s=soon,train.sh", OptionError, "timeout_s is 'soon'"),
        ("command:metric=a,metric=b,train.sh", OptionError, "metric of evaluator command is given twice"),
        ("imagenet:fast", OptionError, "option 'fast' of evaluator imagenet has no value"),
    ],
)
def test_a_text_that_names_no_evaluator_or_option_is_refused(
    text: str, error: type[Mnv2SearchError], what: str
) -> None:
    with pytest.raises(error, match=what):
        open_evaluator(text)


@pytest.mark.parametrize(
    ("value", "low", "high"), [(0.5, 0.6, 0.7), (0.5, 0.1, 0.4), (float("nan"), 0, 1), (1.5, 0, 1), (0.5, -0.1, 0.6)]
)
def test_an_accuracy_outside_its_interval_or_the_ratios_cannot_exist(value: float, low: float, high: float) -> None:
    with pytest.raises(ValueError, match="is not 0 <= low <= value <= high <= 1"):
        Accuracy(value=value, low=low, high=high, metric="top1", kind="reported", dataset="d")


@pytest.mark.parametrize("name", ["train", "supernet", "train-dense"])
def test_an_evaluator_without_its_data_says_how_to_give_it(name: str) -> None:
    with pytest.raises(OptionError, match=f"evaluator {name} needs its option data") as caught:
        open_evaluator(name)
    assert caught.value.hint == "add --data DATA"

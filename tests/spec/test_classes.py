"""Networks for the classes of some data, and what of them takes squares alone."""

from dataclasses import replace

import pytest

from mnv2search.accuracy.evaluators.imagenet import features_of
from mnv2search.errors import EvaluatorError, OptionError
from mnv2search.spec.catalog import entry
from mnv2search.spec.classes import with_classes
from mnv2search.spec.model_spec import DeepLab, square_side
from mnv2search.spec.plan import plan
from mnv2search.supernet.proxy_scale import Fidelity, reduced

WIDE = replace(entry("mobilenet_v2").spec, resolution=(224, 448))


def test_a_classifier_of_rectangles_is_not_trained() -> None:
    with pytest.raises(OptionError, match="224 x 448 px, but images for classifiers are cropped to squares"):
        with_classes(WIDE, 10)


def test_a_segmenter_of_rectangles_gets_the_classes() -> None:
    spec = with_classes(entry("deeplabv3_mobilenet_v2_cityscapes").spec, 5, head=DeepLab)
    assert isinstance(spec.head, DeepLab)
    assert (spec.head.classes, spec.size) == (5, (1025, 2049))


def test_a_square_has_one_side() -> None:
    assert square_side(entry("mobilenet_v2").spec) == 224


def test_no_accuracy_is_estimated_for_rectangles() -> None:
    with pytest.raises(EvaluatorError, match="this network takes 224 x 448 px"):
        features_of(plan(WIDE))


def test_rectangles_are_not_made_smaller_for_a_training() -> None:
    with pytest.raises(OptionError, match="cropped to squares"):
        reduced(WIDE, Fidelity(0.5, 0.5))

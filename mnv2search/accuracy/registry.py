"""Evaluators by name.

``imagenet``, ``supernet:data=DATA``, ``train:data=DATA``, ``train-dense:task=detection,data=DATA``,
``proxy:score=NAME``, ``command:PROGRAM {spec}``, ``python:module:function``, ``recorded:TABLE``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from mnv2search import plugins
from mnv2search.accuracy.evaluator import Evaluator, as_evaluator
from mnv2search.errors import OptionError

# The option that takes the rest of the text, commas and spaces included.
REST: Mapping[str, str] = {"command": "run", "python": "function", "recorded": "table"}
# Options whose value is a path or the name of a remote dataset.
PATHS = ("data", "weights", "weights_spec", "table", "recipe", "folder")


def open_evaluator(text: str) -> Evaluator:
    """Open the evaluator that `text` names.

    Options follow a colon as ``key=value``, separated by commas. For `command`, `python` and `recorded`, everything
    after the options is one argument, including commas, as in ``command:timeout_s=60,python train.py {spec}``;
    ``run=``, ``function=`` or ``table=`` may mark its beginning.

    >>> open_evaluator("imagenet").info.kind
    'estimated'

    Raises:
        UnknownNameError: the evaluator or an option does not exist.
        OptionError: the value of an option cannot be used.
    """
    name, _, options = text.strip().partition(":")
    factory = plugins.load("evaluator", name)
    given = _options(name, options)
    if (rest := REST.get(name)) is not None and rest not in given:
        raise OptionError(f"evaluator {name} needs its {rest}", hint=f"write {name}:{rest.upper()}")
    checked = plugins.checked_options(factory, given, owner=f"evaluator {name}")
    return as_evaluator(factory(**checked))


def evaluator_effects(text: str) -> tuple[str, ...]:
    """The side effects of an evaluator: programs, code and plug-ins that it runs, and paths that it uses.

    >>> evaluator_effects("imagenet")
    ()
    >>> evaluator_effects("command:./train.sh {spec}")
    ("run the program './train.sh {spec}'",)
    """
    name, _, options = text.strip().partition(":")
    if name not in plugins.BUILT_IN["evaluator"]:
        return (f"load the plug-in for the accuracy {text!r}",)
    given = _options(name, options)
    verb = {"command": "run the program", "python": "import and call"}.get(name)
    if verb is not None:
        return (f"{verb} {given.get(REST[name], '')!r}",)
    return tuple(f"use {key} {given[key]!r}" for key in PATHS if key in given)


def _options(name: str, text: str) -> dict[str, str]:
    given: dict[str, str] = {}
    rest = REST.get(name)
    while text:
        match = re.match(r"([A-Za-z_]\w*)=", text)
        if match is None:
            if rest is None:
                raise OptionError(f"option {text!r} of evaluator {name} has no value", hint="write key=value")
            key, value, text = rest, text, ""
        elif match[1] == rest:
            key, value, text = match[1], text[match.end() :], ""
        else:
            key = match[1]
            value, _, text = text[match.end() :].partition(",")
        if key in given:
            raise OptionError(f"option {key} of evaluator {name} is given twice", hint="keep one")
        given[key] = value
    return given

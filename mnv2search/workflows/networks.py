"""Check files, count the cost of networks, and list the published ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Unpack

from mnv2search.cost import cost_of
from mnv2search.display import Listing
from mnv2search.errors import Diagnostic
from mnv2search.results.exports import NetworkCost
from mnv2search.spec import catalog as shipped
from mnv2search.spec.catalog import CatalogEntry
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.spec.space import SearchSpace
from mnv2search.spec.yaml import codec
from mnv2search.workflows.options import SPEC_DEFAULTS, SpecOptions, chosen_spec, saved_spec, specs_of, takes


def check(files: Sequence[str | Path] | str | Path) -> Listing[Diagnostic]:
    """Every problem in specs and search spaces, as `mnv2search check` finds them; empty if there is none.

    Args:
        files: YAML files, ``-`` for standard input, or `.pt` or `.pt2` files that mnv2search wrote.
    """
    names = [str(one) for one in ([files] if isinstance(files, str | Path) else files)]

    def read(name: str) -> object:
        return saved_spec(name) or codec.load(name)

    return Listing(found for name in names for found in codec.check(name, reader=read))


@takes(SpecOptions, SPEC_DEFAULTS, without="head_output")
def costs(
    specs: Sequence[ModelSpec | SearchSpace | str | Path] | ModelSpec | SearchSpace | str | Path,
    *,
    precision: Literal["fp32", "fp16", "int8"] = "fp32",
    **options: Unpack[SpecOptions],
) -> Listing[NetworkCost]:
    """The parameters, multiply-adds and memory of networks, as `mnv2search cost` counts them.

    Args:
        specs: networks or search spaces, their files or published names.
        precision: precision that memory is counted for: ``fp32``, ``fp16`` or ``int8``.
        options: see `SpecOptions`.

    Raises:
        SpecError: a file has problems.
        OptionError: an option does not suit a network.
    """
    networks = [chosen_spec(one, **options) for one in specs_of(specs)]
    return Listing(
        NetworkCost(spec=spec, precision=precision, cost=cost_of(spec, precision=precision)) for spec in networks
    )


def catalog(family: str | None = None) -> Listing[CatalogEntry]:
    """The published networks, as `mnv2search catalog` lists them.

    Args:
        family: only networks whose family contains this text.
    """
    return Listing(one for one in shipped.catalog() if family is None or family.lower() in one.family.lower())

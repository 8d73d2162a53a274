"""Choice among the published weights on this machine: by name, or those that fit a network or a space best."""

from __future__ import annotations

from dataclasses import dataclass

from mnv2search.errors import OptionError, UnknownNameError, WeightsError
from mnv2search.model.weights.catalog_weights import PublishedWeights, nothing_found, published_weights
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.spec.plan import plan
from mnv2search.spec.space import SearchSpace
from mnv2search.supernet.nearest_subnet import likeness, most_alike, weights_in_common

# The name that stands for the best weights of ImageNet.
IMAGENET = "imagenet"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChosenWeights:
    """Weights for a network or a space, with a line that says which they are and why they were chosen."""

    weights: PublishedWeights
    note: str


def choose_weights(name: str, target: ModelSpec | SearchSpace) -> ChosenWeights:
    """The weights of a name that `mnv2search weights list` shows or, for `imagenet`, those that fit best.

    For a space, the network of the weights is the one most alike to a network of the space; for a network, the one
    with the most weights in common. Among equals, those with the highest published top-1 are taken.

    Raises:
        UnknownNameError: no weights have this name.
        WeightsError: there are none on this machine, or none that the networks can inherit from.
    """
    found = published_weights().weights
    if name != IMAGENET:
        return ChosenWeights(weights=(one := named_weights(name, found)), note=f"initial weights: {_described(one)}")
    known = [one for one in found if one.is_published]
    if not known:
        raise nothing_found()
    fits = [(*_fit(one, target), one) for one in known]
    fit, share, best = max(fits, key=lambda fit: (fit[0], fit[2].top1 or 0.0, fit[1]))
    if not any(fit):
        raise WeightsError(
            f"{target.name} cannot inherit from any of the weights found ({', '.join(one.name for one in known)}): "
            "their networks have other numbers of rows, and of groups of rows with equal channels",
            hint="give --from FILE --from-spec NETWORK with weights of a network with as many rows",
        )
    others = f"the best of {len(known)} found" if len(known) > 1 else "the only ones found"
    return ChosenWeights(weights=best, note=f"initial weights: {_described(best)}, {others}: {_why(share, target)}")


def named_weights(name: str, found: tuple[PublishedWeights, ...]) -> PublishedWeights:
    """The weights with a name or, if there are none, the best published ones of the network with this name.

    Raises:
        UnknownNameError: there are neither; or `OptionError` for a path.
        WeightsError: there are no weights at all.
    """
    if not found:
        raise nothing_found()
    for one in found:
        if one.name == name:
            return one
    of_network = [one for one in found if one.spec.name == name]
    if not of_network and "/" in name:
        raise OptionError(
            f"{name} is neither a file nor the name of weights on this machine",
            hint=f"check the path; if it is an id on the Hugging Face hub: mnv2search weights get {name}",
        )
    if not of_network:
        raise UnknownNameError("file or name of weights", name, [IMAGENET, *(one.name for one in found)])
    return max(of_network, key=lambda one: one.top1 or 0.0)


def exact_weights(name: str, network: ModelSpec) -> ChosenWeights:
    """The weights of a name or, for `imagenet`, the best published ones that fill a network completely.

    Raises:
        OptionError: no weights found are those of this network.
        UnknownNameError: no weights have this name.
        WeightsError: there are none on this machine.
    """
    if name != IMAGENET:
        return choose_weights(name, network)
    found = published_weights().weights
    known = [one for one in found if one.is_published]
    if not known:
        raise nothing_found()
    layers = [unit.layers for unit in plan(network).units]
    equal = [one for one in known if [unit.layers for unit in plan(one.spec).units] == layers]
    if not equal:
        names = ", ".join(dict.fromkeys(one.spec.name for one in known))
        raise OptionError(
            f"the weights found on this machine are not those of {network.name}, but of {names}",
            hint="compile one of these, or train the network with --from imagenet first",
        )
    best = max(equal, key=lambda one: one.top1 or 0.0)
    return ChosenWeights(weights=best, note=f"weights: {_described(best)}")


def _fit(one: PublishedWeights, target: ModelSpec | SearchSpace) -> tuple[tuple[float, float], float]:
    """What to maximize, and the share of the weights in common; likenesses are rounded to two digits."""
    if isinstance(target, SearchSpace):
        _, alike = most_alike(target, one.spec)
        return (round(alike, 2), 0.0), alike
    own, other = plan(target), plan(one.spec)
    shared, _ = weights_in_common(own, other)
    _, twice = weights_in_common(own, own)
    return (float(shared), round(likeness(own, other), 2)), 2 * shared / twice


def _described(one: PublishedWeights) -> str:
    figure = "" if one.top1 is None else f", published top-1 {100 * one.top1:.1f} % on ImageNet"
    return f"{one.name} of {one.spec.name} ({one.file.place}{figure})"


def _why(share: float, target: ModelSpec | SearchSpace) -> str:
    if isinstance(target, SearchSpace):
        return f"a network of {target.name} has {100 * share:.0f} % of the weights in common with their network"
    return f"{100 * share:.0f} % of the weights of {target.name} have a counterpart in these"

"""The methods that a benchmark compares, and the candidates of each: its options, combined."""

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple

from jsonargparse import ArgumentParser

from wsss.attribution.methods import AttributionConfig
from wsss.runs.settings import plain


@dataclass(frozen=True)
class MethodConfig(AttributionConfig):
    """A method with the options that are tried.

    Args:
        method: ``tif``, ``base``, ``fullgrad`` or a baseline.
        layers: Names of modules, or a number n: the last n default layers. ``null`` takes the
            method's default.
        tif: Options of TIF.
        gradient: Which gradient the attribution is made of.
        target: Which number stands for a class.
        batch: Most images, or changed copies of one, in a pass.
        vary: Dotted keys of the method's options, such as ``tif.alpha`` or ``layers``, and the
            values of each; every combination is a candidate. Nothing: the method as it is.
    """

    vary: dict[str, list[Any]] = field(default_factory=dict)


class Candidate(NamedTuple):
    """A method with one combination of its options.

    Args:
        method: Name of the method.
        name: Its own name: the method's, then the values that vary.
        config: How it explains.
    """

    method: str
    name: str
    config: AttributionConfig


def candidates_of(methods: Mapping[str, MethodConfig]) -> list[Candidate]:
    """The candidates of all methods, those of one method side by side.

    Raises:
        ValueError: A key or value that is no option of a method, or no candidate at all.
    """
    if not methods:
        raise ValueError("methods: expected at least one method")
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(AttributionConfig, "config")
    candidates: list[Candidate] = []
    for method, given in methods.items():
        combinations = list(_combinations(given.vary))
        if not combinations:
            raise ValueError(f"methods.{method}.vary: a key has no value")
        candidates += [_candidate(parser, method, given, options) for options in combinations]
    # results are found by name
    names = [candidate.name for candidate in candidates]
    for candidate in candidates:
        if names.count(candidate.name) > 1:
            raise ValueError(
                f"methods.{candidate.method}: two candidates are called {candidate.name!r}"
            )
    return candidates


def _combinations(vary: Mapping[str, list[Any]]) -> Iterator[dict[str, Any]]:
    """Every combination of the values that vary, by their dotted keys; one of nothing for none."""
    for values in itertools.product(*vary.values()):
        yield dict(zip(vary, values, strict=True))


def _candidate(
    parser: ArgumentParser, method: str, given: MethodConfig, options: Mapping[str, Any]
) -> Candidate:
    """A method with some of its options replaced, checked as if a file had said so."""
    common = {f.name: plain(getattr(given, f.name)) for f in fields(AttributionConfig)}
    settings = _replaced(common, options, method)
    try:
        built = parser.instantiate(parser.parse_object({"config": settings}))
    except Exception as error:  # jsonargparse raises several kinds
        raise ValueError(f"methods.{method}, {dict(options)}: {error}") from error
    words = ", ".join(f"{key.split('.')[-1]} {_short(v)}" for key, v in options.items())
    return Candidate(method, f"{method}, {words}" if words else method, built["config"])


def _replaced(common: dict[str, Any], options: Mapping[str, Any], method: str) -> dict[str, Any]:
    """Plain options with those at some dotted keys replaced."""
    settings = {k: dict(v) if isinstance(v, dict) else v for k, v in common.items()}
    for key, value in options.items():
        *above, last = key.split(".")
        place: Any = settings
        for word in above:
            place = place.get(word) if isinstance(place, dict) else None
        if not isinstance(place, dict) or last not in place:
            raise ValueError(
                f"methods.{method}.vary: no option {key!r}; expected a key such as layers, "
                "tif.alpha or gradient.steps"
            )
        place[last] = value
    return settings


def _short(value: Any) -> str:
    """A varied value in a name; of layers what they do not have in common at the front."""
    if isinstance(value, list):
        return "+".join(str(item).removeprefix("backbone.") for item in value)
    return str(value)

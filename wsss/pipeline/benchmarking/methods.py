"""Methods x options x layers: the ways to explain that a benchmark compares."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from jsonargparse import ArgumentParser

from wsss.attribution.methods import AttributionConfig
from wsss.runs.settings import plain


@dataclass(frozen=True)
class FamilyConfig(AttributionConfig):
    """A method with the options that are tried.

    Args:
        method: ``tif``, ``base``, ``fullgrad`` or a baseline.
        layers: Names of modules, or a number n: the last n default layers. ``null`` takes the
            method's default.
        tif: Options of TIF.
        gradient: Which gradient the attribution is made of.
        vary: Dotted keys of the method's options, such as ``tif.alpha`` or ``layers``, and the
            values of each; every combination is one way to explain. Nothing: the method as it is.
    """

    vary: dict[str, list[Any]] = field(default_factory=dict)


def expand(families: Mapping[str, FamilyConfig]) -> dict[str, dict[str, AttributionConfig]]:
    """The ways of each family, by name: family, then the values that vary.

    Raises:
        ValueError: A key or value that is no option of a method, or no way at all.
    """
    if not families:
        raise ValueError("families: expected at least one method")
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(AttributionConfig, "config")
    result: dict[str, dict[str, AttributionConfig]] = {}
    names: set[str] = set()
    for family, given in families.items():
        common = {f.name: plain(getattr(given, f.name)) for f in fields(AttributionConfig)}
        ways = {}
        for values in itertools.product(*given.vary.values()):
            chosen = dict(zip(given.vary, values, strict=True))
            settings = _with(common, chosen, family)
            try:
                built = parser.instantiate(parser.parse_object({"config": settings}))
            except Exception as error:  # jsonargparse raises several kinds
                raise ValueError(f"families.{family}, {chosen}: {error}") from error
            words = ", ".join(f"{key.split('.')[-1]} {_short(v)}" for key, v in chosen.items())
            name = f"{family}, {words}" if words else family
            if name in names:
                raise ValueError(f"families.{family}: two ways are called {name!r}")
            names.add(name)
            ways[name] = built["config"]
        if not ways:
            raise ValueError(f"families.{family}.vary: a key has no value")
        result[family] = ways
    return result


def _with(common: dict[str, Any], chosen: dict[str, Any], family: str) -> dict[str, Any]:
    """Settings with some dotted keys replaced."""
    settings = {k: dict(v) if isinstance(v, dict) else v for k, v in common.items()}
    for key, value in chosen.items():
        *above, last = key.split(".")
        place: Any = settings
        for word in above:
            place = place.get(word) if isinstance(place, dict) else None
        if not isinstance(place, dict) or last not in place:
            raise ValueError(
                f"families.{family}.vary: no option {key!r}; expected a key such as layers, "
                "tif.alpha or gradient.steps"
            )
        place[last] = value
    return settings


def _short(value: Any) -> str:
    """A varied value in a name; of layers what they do not have in common at the front."""
    if isinstance(value, list):
        return "+".join(str(item).removeprefix("backbone.") for item in value)
    return str(value)

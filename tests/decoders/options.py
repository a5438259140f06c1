"""Options of any decoder, drawn from the JSON Schema that it publishes: a new decoder is under test by being there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hypothesis import strategies as st

from decoders import build, registry
from decoders.base import Decoder

SMALL = 6
"""How far above its smallest value a number is drawn: the tests are about structure, not about size."""


def decoders(depth: int = 1) -> st.SearchStrategy[Decoder]:
    """Any decoder with any options; inner decoders at most `depth` deep."""
    return st.sampled_from(sorted(registry())).flatmap(
        lambda name: st.builds(build, st.just(name), options(name, depth))
    )


def options(name: str, depth: int = 1) -> st.SearchStrategy[dict[str, Any]]:
    """Options of one decoder; what is left out has its default unless that would make the tests long."""
    schema = registry()[name].model_json_schema()
    fields = {field: _values(field, entry, schema, depth) for field, entry in schema["properties"].items()}
    return st.fixed_dictionaries({}, optional=fields)


def _values(field: str, entry: Mapping[str, Any], schema: Mapping[str, Any], depth: int) -> st.SearchStrategy[Any]:
    if field == "inner":
        return st.none() if depth == 0 else st.one_of(st.none(), _named(depth - 1))
    if field.endswith("_model"):
        return st.sampled_from([None, "scripted"])
    if field.endswith("_models"):
        return st.lists(st.just("scripted"), max_size=3)
    if "$ref" in entry:
        return _values(field, schema["$defs"][entry["$ref"].rpartition("/")[2]], schema, depth)
    if "anyOf" in entry:
        return st.one_of(*(_values(field, option, schema, depth) for option in entry["anyOf"]))
    if "enum" in entry:
        return st.sampled_from(entry["enum"])
    if "const" in entry:
        return st.just(entry["const"])
    low, high = entry.get("minimum", 0), entry.get("maximum")
    match entry.get("type"):
        case "integer":
            spread = 40 if field.endswith("tokens") else SMALL
            return st.integers(low, low + spread if high is None else min(high, low + spread))
        case "number":
            open_low = entry.get("exclusiveMinimum")
            return st.floats(open_low if open_low is not None else low, 2.0 if high is None else high,
                             exclude_min=open_low is not None)  # fmt: skip
        case "boolean":
            return st.booleans()
        case "null":
            return st.none()
        case "string":
            return st.sampled_from([*([] if entry.get("minLength") else [""]), "some words", " hm"])
        case "array":
            items = _values(field, entry["items"], schema, depth)
            return st.lists(items, min_size=entry.get("minItems", 0), max_size=entry.get("maxItems", 3))
    raise AssertionError(f"no values for {field}: {entry}")


def _named(depth: int) -> st.SearchStrategy[dict[str, Any]]:
    names = sorted(registry())
    return st.sampled_from(names).flatmap(lambda name: options(name, depth).map(lambda given: {"name": name, **given}))

"""What there is to choose from, for the API and for the docs. Rule: all of it is read from the classes.

`python -m decoders.catalogue docs/decoders.md` rewrites the option tables of that page; with `--check` it only says
whether they are what the classes say.
"""

from __future__ import annotations

import argparse
import inspect
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from decoders import Decoder, registry

_TABLE = re.compile(r"(<!-- options: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def describe(cls: type[Decoder]) -> dict[str, Any]:
    """A decoder in plain objects: what it does, where it comes from, what it needs and passes on, its options."""
    summary, _, details = inspect.cleandoc(cls.__doc__ or "").partition("\n\n")
    schema = cls.model_json_schema()
    schema.pop("description", None)
    return {
        "name": cls.name,
        "paper": cls.paper,
        "description": " ".join(summary.split()),
        "details": " ".join(details.split()),
        "needs": sorted(cls.needs),
        "honours": sorted(cls.honours),
        "interactive": cls.interactive,
        "options": schema,
    }


def table(cls: type[Decoder]) -> str:
    """The options as a Markdown table, a decoder's own before those that it shares with others."""
    schema = cls.model_json_schema()
    entries = sorted(schema["properties"].items(), key=lambda item: item[0] not in cls.__annotations__)
    rows = [
        f"| `{name}` | {_default(entry)} | {_values(entry, schema.get('$defs', {}))} | {_meaning(entry)} |"
        for name, entry in entries
    ]
    return "\n".join(["| option | default | values | meaning |", "|---|---|---|---|", *rows])


def render(page: str) -> str:
    """The page with every marked table as the classes have it. Raises `ValueError` for a decoder that is left out."""
    left_out = set(registry()) - {match[1] for match in _TABLE.findall(page)}
    if left_out:
        raise ValueError(f"no option table of {', '.join(sorted(left_out))}")
    return _TABLE.sub(lambda match: f"{match[1]}{table(registry()[match[2]])}\n{match[3]}", page)


def _default(entry: Mapping[str, Any]) -> str:
    value = entry.get("default")
    return "none" if value is None else f"`{value}`" if not isinstance(value, bool) else str(value).lower()


def _values(entry: Mapping[str, Any], shared: Mapping[str, Any]) -> str:
    if "$ref" in entry:
        entry = shared[entry["$ref"].rpartition("/")[2]]
    if "anyOf" in entry:
        kinds = [option for option in entry["anyOf"] if option.get("type") != "null"]
        if any("properties" in kind for kind in kinds):
            return "a decoder"
        return " or ".join(dict.fromkeys(_values(kind, shared) for kind in kinds))
    if "enum" in entry:
        return ", ".join(f"`{value}`" for value in entry["enum"])
    low, high = entry.get("minimum", entry.get("exclusiveMinimum")), entry.get("maximum", entry.get("exclusiveMaximum"))
    kind = str(entry.get("type", "any"))
    bounds = f"{low} to {high}" if None not in (low, high) else f"at least {low}" if low is not None else ""
    if kind == "array":
        return f"list of {_values(entry['items'], shared)}"
    return f"{bounds or kind}" if kind in ("integer", "number") else kind


def _meaning(entry: Mapping[str, Any]) -> str:
    return " ".join(str(entry.get("description", "")).split()).replace("|", "\\|")


def main(arguments: Sequence[str] | None = None) -> int:
    """Rewrite or check a page; 1 where the check fails."""
    parser = argparse.ArgumentParser(prog="python -m decoders.catalogue", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("page", type=Path)
    parser.add_argument("--check", action="store_true", help="change nothing, say whether the page is up to date")
    options = parser.parse_args(arguments)
    before = options.page.read_text(encoding="utf-8")
    after = render(before)
    if options.check and before != after:
        print(f"{options.page} is out of date: python -m decoders.catalogue {options.page}", file=sys.stderr)
        return 1
    if not options.check:
        options.page.write_text(after, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

"""`python -m clients.schema URL`: writes `clients/decoders.py` from what a server says of its decoders.

Rule: the types say what `/v1/decoders` says and nothing more; bounds and defaults stay with the server.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from openai import OpenAI

_HEAD = '''"""The decoders of a longthink server as types. Written by `python -m clients.schema`, not by hand.

Rule: an option that is left out is the server's to choose: the model's template pack, then the paper.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Required, TypedDict
'''

_TAIL = '''
Options = {options}
"""A decoder with options."""

Decoder = str | Options | Mapping[str, object]
"""What `decoder=` takes: a name, or a decoder with options; as a plain mapping also one of a newer server."""
'''

_SIMPLE = {"integer": "int", "number": "float", "boolean": "bool", "string": "str", "null": "None", "object": "Decoder"}


def render(decoders: Iterable[Mapping[str, Any]]) -> str:
    """The module for the decoders as `/v1/decoders` lists them."""
    listed = list(decoders)
    titles = [decoder["options"]["title"] for decoder in listed]
    options = "(\n    " + "\n    | ".join(titles) + "\n)"
    classes = [_class(decoder) for decoder in listed]
    return "\n".join([_HEAD, *classes, ""]) + _TAIL.format(options=options)


def _class(decoder: Mapping[str, Any]) -> str:
    schema = decoder["options"]
    fields = [f"    {name}: {_type(entry, schema.get('$defs', {}))}" for name, entry in schema["properties"].items()]
    lines = [
        f"\nclass {schema['title']}(TypedDict, total=False):",
        f'    """{decoder["paper"].removeprefix("none: ")}."""',
        "",
        f'    name: Required[Literal["{decoder["name"]}"]]',
        *fields,
    ]
    return "\n".join(lines) + "\n"


def _type(entry: Mapping[str, Any], shared: Mapping[str, Any]) -> str:
    if "$ref" in entry:
        entry = shared[entry["$ref"].rpartition("/")[2]]
    if "anyOf" in entry:
        kinds = dict.fromkeys(_type(kind, shared) for kind in entry["anyOf"])
        return " | ".join(kind for kind in kinds if kind != "str" or "Decoder" not in kinds)
    if "enum" in entry:
        return f"Literal[{', '.join(_quoted(value) for value in entry['enum'])}]"
    if entry.get("type") == "array":
        return f"list[{_type(entry['items'], shared)}]"
    return _SIMPLE[entry["type"]]


def _quoted(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else repr(value)


def main(argv: Sequence[str] | None = None) -> int:
    """Write the module."""
    parser = argparse.ArgumentParser(prog="python -m clients.schema", description="Write clients/decoders.py.")
    parser.add_argument("url", metavar="URL", help="of the server's API, such as http://127.0.0.1:8000/v1")
    with OpenAI(base_url=parser.parse_args(argv).url, api_key="none") as client:
        found: Any = client.get("/decoders", cast_to=object)
    Path(__file__).with_name("decoders.py").write_text(render(found["data"]), encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

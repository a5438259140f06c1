"""`longthink keys`: make, list and revoke the API keys of a file. Rule: a key is shown once, when it is made.

The file is replaced in one step, so that a server which reads it meanwhile sees it whole, and what else stands in it,
comments too, stays.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import tempfile
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from server.admission import keys

_NUMBERS = ("requests_per_minute", "tokens_per_minute", "tokens_per_day", "max_budget", "max_running", "priority")


def main(arguments: Sequence[str]) -> int:
    """Run a subcommand; returns the exit status, 2 for a mistake."""
    given = _parser().parse_args(arguments)
    try:
        if given.file is None:
            raise ValueError("which file? say --file, or set LONGTHINK_KEYS")
        given.run(given)
    except (ValueError, OSError) as error:
        print(f"longthink keys: {error}", file=sys.stderr)
        return 2
    return 0


def create(given: argparse.Namespace) -> None:
    """Append an entry and print its key."""
    text = given.file.read_text("utf-8") if given.file.exists() else ""
    if given.id in keys.parse(text):
        raise ValueError(f"there is a key {given.id} already")
    key, digest = keys.create(given.id)
    fields = ("name", *_NUMBERS, "models", "decoders", "allow_training", "expires")
    options = {name: getattr(given, name) for name in fields}
    entry = {"hash": digest, **{name: value for name, value in options.items() if value is not None}}
    lines = [f"[keys.{given.id}]", *(f"{name} = {_toml(value)}" for name, value in entry.items())]
    before = text.rstrip("\n") + "\n\n" if text.strip() else ""
    _replace(given.file, before + "\n".join(lines) + "\n", {*keys.parse(text), given.id})
    print(key)


def show(given: argparse.Namespace) -> None:
    """Print the keys without their hashes."""
    for id, entry in keys.parse(given.file.read_text("utf-8")).items():
        told = entry.model_dump(mode="json", exclude={"hash", "disabled"}, exclude_defaults=True)
        print(" ".join([id, entry.state, *(f"{name}={json.dumps(value)}" for name, value in told.items())]))


def revoke(given: argparse.Namespace) -> None:
    """Disable a key; its entry stays, so that nobody gets its id and with it its responses."""
    text = given.file.read_text("utf-8")
    entries = keys.parse(text)
    if given.id not in entries:
        raise ValueError(f"there is no key {given.id}")
    if not entries[given.id].disabled:
        _replace(given.file, _disable(text, given.id), set(entries))
    print(f"{given.id} is disabled")


def _disable(text: str, id: str) -> str:
    """The file with `disabled = true` in one entry, under its head."""
    lines = text.splitlines(keepends=True)
    head = re.compile(rf"""\s*\[\s*keys\s*\.\s*(["']?){re.escape(id)}\1\s*\]""")
    first = next((i for i, line in enumerate(lines, 1) if head.match(line)), None)
    if first is None:
        raise ValueError(f"the entry of {id} does not begin with [keys.{id}]: set disabled = true yourself")
    last = next((i for i in range(first, len(lines)) if lines[i].lstrip().startswith("[")), len(lines))
    kept = [line for line in lines[first:last] if not re.match(r"\s*disabled\s*=", line)]
    before = "".join(lines[:first])
    return before.removesuffix("\n") + "\ndisabled = true\n" + "".join([*kept, *lines[last:]])


def _replace(path: Path, text: str, ids: set[str]) -> None:
    """Write the file anew, readable for its owner alone, once it is known to have exactly these keys."""
    if set(keys.parse(text)) != ids:
        raise ValueError(f"{path} cannot be changed: edit it yourself")
    target = path.resolve()
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")  # with mode 0600
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, target)
    except BaseException:
        os.unlink(name)
        raise


def _toml(value: Any) -> str:
    """JSON's strings, numbers and arrays are TOML's, its strings as far as the control characters go."""
    return (
        value.isoformat()
        if isinstance(value, datetime)
        else json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    )


def _moment(text: str) -> datetime:
    """A day or a time; the local time zone unless it says another one."""
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.astimezone()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="longthink keys", description="Make, list and revoke API keys.")
    commands = parser.add_subparsers(required=True, metavar="create|list|revoke")
    common = argparse.ArgumentParser(add_help=False)
    default = os.environ.get("LONGTHINK_KEYS")
    common.add_argument("--file", type=Path, default=Path(default) if default else None, help="the TOML file of keys")
    named = argparse.ArgumentParser(add_help=False)
    named.add_argument("--id", required=True, help="the key's id")
    made = commands.add_parser("create", parents=[common, named], help="make a key and print it, once")
    made.set_defaults(run=create)
    explained = {name: field.description for name, field in keys.Entry.model_fields.items()}
    made.add_argument("--name", help=explained["name"])
    for name in _NUMBERS:
        made.add_argument(f"--{name.replace('_', '-')}", type=int, metavar="N", help=explained[name])
    for name in ("models", "decoders"):
        made.add_argument(f"--{name}", nargs="+", metavar="NAME", help=explained[name])
    made.add_argument("--allow-training", action="store_true", default=None, help=explained["allow_training"])
    made.add_argument("--expires", type=_moment, metavar="TIME", help="when it ends, such as 2027-01-31")
    commands.add_parser("list", parents=[common], help="show the keys, not their secrets").set_defaults(run=show)
    ended = commands.add_parser("revoke", parents=[common, named], help="disable a key")
    ended.set_defaults(run=revoke)
    return parser

"""What is logged and how: one line a record, as text or as JSON, with the request that it belongs to.

Rule: what a client sends can neither begin a line nor steer a terminal, and no secret is written. Nothing hands
secrets to a logger; whatever is one, or looks like one, is struck out here all the same.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, TextIO
from urllib.parse import unquote, urlsplit

import orjson
from pydantic import BaseModel, SecretStr

from server.context import origin
from server.settings import Settings

_OURS = ("longthink", "server", "decoders")
_TALKATIVE = ("httpx", "httpcore")
"""Log URLs and headers, in which there may be secrets."""

_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff]")
"""Controls, line ends of every kind, what is invisible or turns the direction of writing."""
_BLANK = "***"
_SHORTEST = 4
"""Characters of a secret: striking out shorter ones would tear up every line."""
_SAID = r"\\?['\"]*\s*[:=,]\s*b?\\?['\"]*"
"""What stands between a name and its value."""
_LOOKS_SECRET = tuple(
    (tuple(hints.split()), re.compile(pattern, re.IGNORECASE), replacement)
    for hints, pattern, replacement in (
        ("authorization cookie", rf"((?:authorization|cookie){_SAID})[^'\"\\\n]+", rf"\1{_BLANK}"),
        ("key password secret", rf"((?:api[-_]?key|password|secret){_SAID})[^\s'\"\\,;)}}\]]+", rf"\1{_BLANK}"),
        ("bearer basic", r"\b(bearer|basic)\s+[\w.~+/=-]{6,}", rf"\1 {_BLANK}"),
        ("://", r"(://[^\s/:@'\"\\]*:)[^\s/@'\"\\]+@", rf"\1{_BLANK}@"),
    )
)
"""Words without which a pattern need not be tried, the pattern, and what takes the place of what it finds."""


def configure(settings: Settings, stream: TextIO | None = None) -> None:
    """Log everything that this process logs, uvicorn's lines and Python's warnings too, in one form."""
    stream = stream or sys.stderr
    text = settings.log_format == "text" or (settings.log_format == "auto" and stream.isatty())
    handler = logging.StreamHandler(stream)
    handler.setFormatter((TextFormatter if text else JsonFormatter)(Redaction(secrets(settings))))
    root, level = logging.getLogger(), settings.log_level.upper()
    root.handlers[:] = [handler]
    root.setLevel(level if level in ("DEBUG", "ERROR") else "WARNING")
    for name in _OURS:
        logging.getLogger(name).setLevel(level)
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel("WARNING")
    logging.captureWarnings(True)


class Redaction:
    """Strikes out known secrets, and what follows names that secrets have."""

    def __init__(self, known: Iterable[str] = ()) -> None:
        forms = {form for secret in known for form in (secret, json.dumps(secret)[1:-1]) if len(secret) >= _SHORTEST}
        self._known = sorted(forms, key=len, reverse=True)

    def __call__(self, line: str) -> str:
        """The line without them."""
        for secret in self._known:
            line = line.replace(secret, _BLANK)
        lower = line.lower()
        for hints, pattern, replacement in _LOOKS_SECRET:
            if any(hint in lower for hint in hints):
                line = pattern.sub(replacement, line)
        return line


class TextFormatter(logging.Formatter):
    """A line for people; a traceback follows, each of its lines behind a bar."""

    def __init__(self, redact: Redaction) -> None:
        super().__init__()
        self._redact = redact

    def format(self, record: logging.LogRecord) -> str:
        """The record."""
        fields = {name: value for name, value in _fields(record).items() if f"%({name})" not in str(record.msg)}
        told = " ".join(f"{name}={_escape(str(value))}" for name, value in fields.items())
        line = f"{_time(record)} {record.levelname} {record.name}: {_escape(record.getMessage())}"
        lines = [f"{line} [{told}]" if told else line]
        lines += [f"  | {_escape(part)}" for part in (_exception(self, record) or "").split("\n") if part]
        return self._redact("\n".join(lines))


class JsonFormatter(logging.Formatter):
    """A JSON object a line."""

    def __init__(self, redact: Redaction) -> None:
        super().__init__()
        self._redact = redact

    def format(self, record: logging.LogRecord) -> str:
        """The record."""
        content = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_fields(record),
        }
        if exception := _exception(self, record):
            content["exception"] = exception
        try:
            line = orjson.dumps(content, default=str).decode()
        except TypeError:  # half a surrogate pair
            line = json.dumps(content, default=str)
        if not line.isprintable():
            line = _UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", line)
        return self._redact(line)


def secrets(settings: Settings) -> Iterator[str]:
    """Every secret that the settings hold or name: keys, also those in variables, and passwords in URLs."""
    yield from _secrets(settings)


def _secrets(value: Any, name: str = "") -> Iterator[str]:
    match value:
        case SecretStr():
            yield value.get_secret_value()
        case BaseModel():
            for field in type(value).model_fields:
                yield from _secrets(getattr(value, field), field)
        case Mapping():
            for key, inner in value.items():
                yield from _secrets(inner, str(key))
        case list() | tuple():
            for inner in value:
                yield from _secrets(inner, name)
        case str() if name == "api_key_env":
            yield os.environ.get(value, "")
        case str() if "://" in value and (password := urlsplit(value).password):
            yield from {password, unquote(password)}


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    """What is known of where a record comes from, and its arguments where they have names."""
    whom = origin()
    known = {
        "request_id": whom.request,
        "run_id": whom.run,
        "model": whom.model,
        "decoder": whom.decoder,
        "key_id": whom.key,
        "trace_id": whom.trace,
    }
    named = record.args if isinstance(record.args, Mapping) else {}
    return {name: value for name, value in known.items() if value} | dict(named)


def _exception(formatter: logging.Formatter, record: logging.LogRecord) -> str | None:
    if record.exc_info and record.exc_info[0] is not None:
        return formatter.formatException(record.exc_info)
    return record.stack_info


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _escape(text: str) -> str:
    return text if text.isprintable() else _UNSAFE.sub(lambda found: repr(found[0])[1:-1], text)

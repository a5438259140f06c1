"""Requests and settings as pages show them, held against the models that the server reads them with.

Rule: only what a page writes out is judged; a value that the reader is to fill in is left alone.
"""

from __future__ import annotations

import ast
import json
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module
from typing import Any
from urllib.parse import urlsplit

from decoders import build, registry
from decoders.core.errors import LongThinkError
from server.api.anthropic_wire import CountRequest, MessagesRequest
from server.api.completions import CompletionRequest
from server.api.request import Request, Sampled
from server.api.responses_wire import ResponsesRequest
from server.api.wire import ChatRequest
from server.settings import Settings
from tests.docs.markdown import Piece
from tests.docs.shell import Command
from training.__main__ import names

MODELS: dict[str, type[Request]] = {
    "/v1/chat/completions": ChatRequest,
    "/v1/responses": ResponsesRequest,
    "/v1/completions": CompletionRequest,
    "/v1/messages": MessagesRequest,
    "/v1/messages/count_tokens": CountRequest,
}
CALLS = {
    "chat.completions.create": "/v1/chat/completions",
    "responses.create": "/v1/responses",
    "completions.create": "/v1/completions",
    "messages.create": "/v1/messages",
}


def body_of(command: Command) -> tuple[str, str, str | None]:
    """Method, path and body of a `curl`."""
    words = list(command.words)
    url = next((word for word in words if word.startswith("http")), "")
    flags = ("-d", "--data", "--json", "--data-raw")
    body = next((words[i + 1] for i, word in enumerate(words[:-1]) if word in flags), None)
    asked = next((words[i + 1] for i, word in enumerate(words[:-1]) if word in ("-X", "--request")), None)
    return asked or ("GET" if body is None else "POST"), urlsplit(url).path, body


def problems_of(path: str, body: Any) -> Iterator[str]:
    """What the server would answer with a 400."""
    if path in MODELS:
        try:
            read = MODELS[path].parse(body)
            if isinstance(read, Sampled) and read.decoder.name:
                build(read.decoder.name, read.decoder.options)
        except LongThinkError as error:
            yield str(error)


def python_requests(block: Piece) -> Iterator[tuple[Piece, str, dict[str, Any]]]:
    """Calls of OpenAI's and Anthropic's clients whose arguments are all written out, with the body that they send."""
    for node in ast.walk(ast.parse(block.text)):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            path = next((path for name, path in CALLS.items() if called.endswith(f".{name}")), None)
            arguments = _literals(node)
            if path is not None and arguments is not None:
                body = arguments | arguments.pop("extra_body", {})
                yield Piece(block.page, block.line + node.lineno - 1, called), path, body


def _literals(call: ast.Call) -> dict[str, Any] | None:
    try:
        return {keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords if keyword.arg}
    except ValueError:
        return None


def decoder_problems(code: Piece) -> Iterator[str]:
    """Of an object in a sentence that names a decoder and its options."""
    try:
        found = json.loads(code.text)
    except ValueError:
        return
    if isinstance(found, Mapping) and found.get("name") in registry():
        try:
            build(str(found["name"]), {name: value for name, value in found.items() if name != "name"})
        except LongThinkError as error:
            yield str(error)


def settings_problems(block: Piece) -> Iterator[str]:
    """Of a TOML file: it is the server's, or that of a recipe."""
    try:
        tables = tomllib.loads(block.text)
        errors = [_refused(model, tables) for model in (Settings, *(_recipes() if _trains(block) else ()))]
    except ValueError as error:
        errors = [str(error)]
    if all(errors):
        yield str(errors[0])


def _trains(block: Piece) -> bool:
    return block.page.name == "training.md"


def _refused(model: Any, tables: Mapping[str, Any]) -> str | None:
    """What is wrong with the tables, what is missing left aside: a page shows the part that it speaks of."""
    try:
        model(**{name: value for name, value in tables.items() if name != "recipe"})
    except ValueError as error:
        wrong = [e for e in getattr(error, "errors", list)() if e["type"] != "missing"]
        return "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in wrong) or None
    return None


@cache
def _recipes() -> tuple[Any, ...]:
    return tuple(import_module(f"training.recipes.{name}").Config for name in names("training.recipes"))

"""Prompts to token ids: the tokenizer and chat template of a checkpoint. Rule: the same ids as transformers makes."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import jinja2
import jinja2.ext
import jinja2.nodes
import jinja2.parser

from decoders.core.errors import EngineUnavailable, InvalidRequest
from decoders.core.messages import Message, Prompt
from decoders.core.thinking import CLOSE, OPEN
from decoders.prompts.sandbox import Sandbox, render
from server.engines.embedded.detokenizer import unsettled
from server.engines.opening import opened_by_ids, opened_by_text
from server.engines.tool_calls import MARK

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_CONTEXT = 8
"""Ids that a token's text can depend on: the bytes of the longest character and a word before them."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """A prompt as the model reads it; `thinking` says that it ends inside an open thinking block.

    `before` are the last ids of a text or reply that is continued: the first new word's space depends on them.
    """

    ids: tuple[int, ...]
    thinking: bool
    before: tuple[int, ...] = ()


class ChatTokenizer:
    """`tokenizer.json` with the chat template beside it; works without transformers.

    `vocabulary` is how many embeddings the model has, where that differs from the tokens that have a name.
    """

    def __init__(self, folder: Path, vocabulary: int | None = None) -> None:
        from tokenizers import Tokenizer

        if not (folder / "tokenizer.json").is_file():
            raise EngineUnavailable(f"{folder} has no tokenizer.json")
        self.words: Tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._size = vocabulary or self.words.get_vocab_size()
        self.words.no_truncation()
        self.words.no_padding()
        self.unsettled = unsettled(self.words)
        self._separators = {id for id, token in self.words.get_added_tokens_decoder().items() if token.special}
        self._named: dict[int, str] = {}
        settings = _settings(folder)
        self._special = {key: _text(value) for key, value in settings.items() if key.endswith("_token") and value}
        source = _template_source(folder)
        self._template = None if source is None else _environment().from_string(source)
        self._marks = (self.words.token_to_id(OPEN), self.words.token_to_id(CLOSE))

    def encode(self, prompt: Prompt, *, special: bool = False, opened: bool = True) -> Encoded:
        """Raises `InvalidRequest` for a conversation that the template refuses and for ids outside the vocabulary."""
        if prompt.token_ids is not None:
            ids = self.checked(prompt.token_ids)
            return Encoded(ids, opened_by_ids(ids, *self._marks), self._continued(ids))
        text = self.render(prompt, opened=opened) if prompt.text is None else prompt.text
        ids = self.checked(self.words.encode(text, add_special_tokens=special).ids)
        continued = ids if prompt.text is not None else self.words.encode(prompt.prefix, add_special_tokens=False).ids
        return Encoded(ids, opened_by_text(text, prompt), self._continued(continued))

    def _continued(self, ids: Sequence[int]) -> tuple[int, ...]:
        """The ids that the next word's text depends on: none behind a special token, where a turn begins."""
        last = ids[-_CONTEXT:]
        begin = max((place + 1 for place, id in enumerate(last) if id in self._separators), default=0)
        return tuple(last[begin:])

    def render(self, prompt: Prompt, *, opened: bool = True) -> str:
        """The conversation as text, up to where the reply continues or, without `opened`, before it begins."""
        if self._template is None:
            raise InvalidRequest("the checkpoint has no chat template: send token ids", param="messages")
        if any(message.attachments for message in prompt.messages):
            raise InvalidRequest("this model takes text only", param="messages", code="unsupported_content")
        messages = [_shown(message) for message in prompt.messages]
        tools = json.loads(prompt.tools) if prompt.tools else None
        try:
            text = render(
                self._template,
                messages=messages,
                tools=tools,
                documents=None,
                add_generation_prompt=opened,
                **self._special,
            )
        except (jinja2.TemplateError, TypeError, ValueError, LookupError) as error:
            raise InvalidRequest(f"the chat template refused the messages: {error}", param="messages") from error
        return text + prompt.prefix

    def decode(self, ids: Sequence[int], *, special: bool = False) -> str:
        """Text with or without special tokens."""
        return self.words.decode(list(ids), skip_special_tokens=not special)

    def word(self, id: int) -> str:
        """One token by itself, special ones by their name."""
        if id not in self._named:  # asked twenty times a token where alternatives are wanted
            self._named[id] = self.words.decode([id], skip_special_tokens=False) or self.words.id_to_token(id) or ""
        return self._named[id]

    def checked(self, ids: Sequence[int], param: str = "prompt") -> tuple[int, ...]:
        """The ids, of which none is outside the vocabulary. Raises `InvalidRequest`."""
        # An id without an embedding would end the engine's thread, and with it everybody's calls.
        if not ids:
            raise InvalidRequest("a prompt needs at least one token", param=param)
        if min(ids) < 0 or max(ids) >= self._size:
            raise InvalidRequest(f"a token id is outside the vocabulary of {self._size}", param=param)
        return tuple(ids)


def _shown(message: Message) -> dict[str, Any]:
    """The message as templates expect it: they write the arguments of a call as JSON themselves."""
    shown = message.wire()
    for call in shown.get("tool_calls", ()):
        with contextlib.suppress(ValueError):
            call["function"]["arguments"] = json.loads(call["function"]["arguments"])
    return shown


def calls_tools(folder: Path) -> bool:
    """Whether the checkpoint's chat template shows tools to the model and asks for calls of the form that is read."""
    source = _template_source(folder) or ""
    # models that write <function=…> inside the same marks use another form
    return "tools" in source and MARK in source and "<function=" not in source


def _settings(folder: Path) -> dict[str, Any]:
    path = folder / "tokenizer_config.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _template_source(folder: Path) -> str | None:
    if (folder / "chat_template.jinja").is_file():
        return (folder / "chat_template.jinja").read_text(encoding="utf-8")
    source = _settings(folder).get("chat_template")
    if isinstance(source, list):
        named = {entry["name"]: entry["template"] for entry in source}
        source = named.get("default")
    return None if source is None else str(source)


def _text(token: str | dict[str, Any]) -> str:
    return token if isinstance(token, str) else str(token["content"])


class _Generation(jinja2.ext.Extension):
    """Lets `{% generation %}` blocks through: they only mark the assistant's tokens for training."""

    tags = {"generation"}  # noqa: RUF012 - jinja's own declaration

    def parse(self, parser: jinja2.parser.Parser) -> list[jinja2.nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _environment() -> Sandbox:
    # The same settings, filters and globals as transformers, for templates are written against those.
    environment = Sandbox(extensions=[_Generation, jinja2.ext.loopcontrols])
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _refuse
    environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    return environment


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _refuse(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)

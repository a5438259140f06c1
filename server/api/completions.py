"""POST /v1/completions: text that is continued as it is, without a chat template.

Rule: what comes back is what was generated, thinking tags and all; so only decoders that complete one prompt can do it.
`max_tokens` is for each choice, as everywhere else where this API is spoken.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

import orjson
from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import BeforeValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from decoders.core.errors import InvalidRequest
from decoders.core.messages import Prompt
from decoders.core.trace import Completion
from server.api import wire
from server.api.body import read_json
from server.api.chunks import ending
from server.api.desk import Desk, tell
from server.api.fields import UNSUPPORTED, StopField
from server.api.openapi import ERRORS, BytesRoute, request_body
from server.api.request import Flag, Sampled
from server.api.sse import DONE
from server.api.vendor import longthink
from server.api.wire import StreamOptions
from server.context import named
from server.narrator import Piece
from server.report import Report
from server.service import Ask

_MOST_PROMPTS = 64
_TOKENS = 16
"""What OpenAI and vLLM generate here where the request does not say."""

_ID = {"type": "integer", "minimum": 0}
_LIST = {"type": "array", "minItems": 1}
_MANY = {**_LIST, "maxItems": _MOST_PROMPTS}
_PROMPT_SCHEMA = {
    "anyOf": [
        {"type": "string"},
        {**_MANY, "items": {"type": "string"}},
        {**_LIST, "items": _ID},
        {**_MANY, "items": {**_LIST, "items": _ID}},
    ]
}


def _prompts(value: Any) -> tuple[Prompt, ...]:
    if _ids(value):
        return (Prompt(token_ids=tuple(value)),)
    given = [value] if isinstance(value, str) else value
    if not isinstance(given, list) or not 1 <= len(given) <= _MOST_PROMPTS:
        message = "a prompt is a string, an array of token ids, or an array of at most {most} of these"
        raise PydanticCustomError("prompt", message, {"most": _MOST_PROMPTS})
    if all(isinstance(text, str) for text in given):
        return tuple(Prompt(text=text) for text in given)
    if all(_ids(ids) for ids in given):
        return tuple(Prompt(token_ids=tuple(ids)) for ids in given)
    raise PydanticCustomError("prompt", "prompts are all strings, or all arrays of token ids from 0 up")


def _ids(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(type(id) is int and 0 <= id < 2**31 for id in value)


class CompletionRequest(Sampled):
    """A text completion request: OpenAI's fields, those of vLLM in common use, and `decoder`."""

    unsupported: ClassVar[Mapping[str, tuple[Any, ...]]] = {
        "logit_bias": UNSUPPORTED["logit_bias"],
        "repetition_penalty": UNSUPPORTED["repetition_penalty"],
        "suffix": (None, ""),
    }

    prompt: Annotated[tuple[Prompt, ...], BeforeValidator(_prompts), WithJsonSchema(_PROMPT_SCHEMA)]
    """A text, a text's token ids, or several of one kind, which are completed independently."""
    max_tokens: int | None = Field(default=None, ge=1)
    """Tokens at most for each choice; without it 16."""
    n: int | None = Field(default=None, ge=1, le=8)
    """Independent completions of each prompt."""
    best_of: int | None = Field(default=None, ge=1)
    """Accepted where it is no more than n: for the best of several ask for a decoder."""
    echo: Flag = None
    """Begin each text with its prompt, where that is text and no log-probabilities are wanted."""
    logprobs: int | None = Field(default=None, ge=0, le=20)
    """Log-probabilities of the tokens, with this many alternatives."""
    stop: StopField = ()
    stream_options: StreamOptions | None = None
    return_token_ids: Flag = None
    """Add `token_ids` and `prompt_token_ids` to each choice."""
    user: str | None = None
    """Accepted and not used."""

    def ask(self) -> Ask:
        """The same in the service's terms. Raises `InvalidRequest` where fields do not fit together."""
        if self.stream_options is not None and not self.stream:
            raise InvalidRequest("stream_options is only allowed with stream: true", param="stream_options")
        if self.best_of is not None and self.best_of > (self.n or 1):
            raise InvalidRequest("best_of is not supported: ask for the decoder best_of_n in a chat", param="best_of")
        if self.echo and (self.logprobs is not None or self.prompt[0].text is None):
            raise InvalidRequest("echo is only supported for text without logprobs", param="echo")
        return Ask(
            model=self.model,
            prompts=self.prompt,
            decoder=self.decoder.name,
            options=self.decoder.options,
            max_tokens=self.max_tokens or _TOKENS,
            max_tokens_param="max_tokens",
            each=True,
            sampling=self.sampling(stop=self.stop or None, logprobs=self.logprobs),
            seed=self.seed,
            n=self.n or 1,
        )


def router(desk: Desk) -> APIRouter:
    """The route."""
    routes = APIRouter(route_class=BytesRoute)

    @routes.post(
        "/v1/completions",
        openapi_extra=request_body(CompletionRequest),
        response_class=Response,
        responses=ERRORS,
    )
    async def completions(request: Request) -> Response:
        """Continue a text."""
        asked = CompletionRequest.parse(await read_json(request))
        report, prompt_ids = await desk.report(asked.ask(), request, ids=bool(asked.return_token_ids))
        reply = _Reply(asked, report, prompt_ids)
        return desk.stream(tell(report, reply)) if asked.stream else await desk.whole(request, reply.whole())

    return routes


class _Reply:
    """One response, whole or as a stream; `prompt_ids` are there where the client wants ids."""

    def __init__(self, asked: CompletionRequest, report: Report, prompt_ids: Sequence[tuple[int, ...]]) -> None:
        self._asked = asked
        self._report = report
        self._prompt_ids = prompt_ids
        self._usage = bool(asked.stream_options and asked.stream_options.include_usage)
        self._head = {
            "id": named(f"cmpl-{uuid.uuid4().hex}"),
            "object": "text_completion",
            "created": int(time.time()),
            "model": asked.model,
        }
        self._open = b"data: " + orjson.dumps(self._head)[:-1] + b","
        self._close = ending(asked.stream_options, report)

    async def whole(self) -> bytes:
        """The response in one piece."""
        await self._report.reasoning()
        choices = [self._choice(i, self._echoed(i) + self._report.text(i)) for i in range(self._choices)]
        usage = wire.usage_object(self._report.usage())
        return orjson.dumps({**self._head, "choices": choices, "usage": usage, **self._ours()})

    def begin(self, index: int) -> bytes:
        """The prompt, where it is to be repeated."""
        return self._chunk(index, self._echoed(index)) if self._asked.echo else b""

    def piece(self, index: int, piece: Piece) -> bytes:
        """A chunk of text."""
        return self._chunk(index, piece.text)

    def finish(self, index: int, *, last: bool) -> bytes:
        """The chunk with the finish reason and what is known of the whole text."""
        ours = self._ours() if last and not self._usage else {}
        return self._open + orjson.dumps({"choices": [self._choice(index, "")], **ours})[1:-1] + self._close()

    def end(self) -> bytes:
        """The chunk with the usage, where it is wanted, and the end mark."""
        if not self._usage:
            return DONE
        body = {"choices": [], "usage": wire.usage_object(self._report.usage()), **self._ours()}
        return self._open + orjson.dumps(body)[1:] + b"\n\n" + DONE

    @property
    def _choices(self) -> int:
        return self._report.choices

    def _prompt(self, index: int) -> int:
        return index // (self._asked.n or 1)

    def _echoed(self, index: int) -> str:
        return self._asked.prompt[self._prompt(index)].text or "" if self._asked.echo else ""

    def _ours(self) -> dict[str, Any]:
        return {"longthink": longthink(self._report)}

    def _chunk(self, index: int, text: str) -> bytes:
        choice = b'"choices":[{"index":%d,"text":%b,"logprobs":null,"finish_reason":null}]' % (
            index,
            orjson.dumps(text),
        )
        return self._open + choice + self._close()

    def _choice(self, index: int, text: str) -> dict[str, Any]:
        done = self._report.completion(index)
        choice: dict[str, Any] = {
            "index": index,
            "text": text,
            "logprobs": None if self._asked.logprobs is None else _logprobs(done),
            "finish_reason": self._report.finish(index),
        }
        if self._asked.return_token_ids:
            choice["prompt_token_ids"] = self._prompt_ids[self._prompt(index)]
            choice["token_ids"] = done.token_ids if done else ()
        return choice


def _logprobs(done: Completion | None) -> dict[str, Any]:
    """The older form of log-probabilities: four arrays side by side."""
    offsets, position = [], 0
    entries = done.logprobs if done else ()
    for entry in entries:
        offsets.append(position)
        position += len(entry.text)
    return {
        "tokens": [entry.text for entry in entries],
        "token_logprobs": [max(entry.logprob, wire.LEAST_LOGPROB) for entry in entries],
        "top_logprobs": [
            {text: max(logprob, wire.LEAST_LOGPROB) for _, text, logprob in reversed(entry.top)} for entry in entries
        ],
        "text_offset": offsets,
    }

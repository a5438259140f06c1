"""Asks an OpenAI-compatible endpoint one question at a time, and again where asking again can help.

Rule: token counts are the server's own; a reply without them is an error, never an estimate.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import TracebackType

import httpx
from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError

RETRIED = frozenset({408, 429, 502, 503, 504})
REFUSED = frozenset({401, 403, 404, 405})
LONGEST_WAIT = 60.0


class RequestFailed(Exception):
    """No usable reply, after all attempts. `retries` says how many came after the first, `code` is the error's."""

    def __init__(self, message: str, retries: int, code: str = "") -> None:
        super().__init__(message)
        self.retries, self.code = retries, code


class EndpointRefused(Exception):
    """The endpoint will refuse every other request too: wrong address, key or model."""


class _Lenient(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class _Details(_Lenient):
    reasoning_tokens: int | None = None


class _PromptDetails(_Lenient):
    cached_tokens: int | None = None


class _Usage(_Lenient):
    completion_tokens: int
    prompt_tokens: int = 0
    completion_tokens_details: _Details | None = None
    prompt_tokens_details: _PromptDetails | None = None


class _Message(_Lenient):
    content: str | None = None


class _Choice(_Lenient):
    message: _Message
    finish_reason: str | None = None


class _Error(_Lenient):
    message: str = "it does not say why"


class _Vendor(_Lenient):
    by_role: JsonValue = None
    interaction: JsonValue = None
    error: _Error | None = None


class _Body(_Lenient):
    choices: list[_Choice]
    usage: _Usage
    longthink: _Vendor | None = None


class Told(_Lenient):
    """A step of a run, as a longthink server tells of its end: `answer` is what votes compare."""

    step: str
    kind: str
    tokens: int
    finish: str | None = None
    answer: str | None = None
    verdict: bool | float | None = None


class _Chunk(_Lenient):
    id: str = ""
    longthink: dict[str, JsonValue] | None = None
    error: _Error | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """What the benchmark needs of a chat completion. `seconds` is the last attempt alone; `steps` only if asked for."""

    answer: str
    finish: str | None
    completion_tokens: int
    reasoning_tokens: int
    prompt_tokens: int
    cached_tokens: int
    by_role: JsonValue
    interaction: JsonValue
    seconds: float
    retries: int
    steps: tuple[Told, ...] | None = None


class Endpoint:
    """`POST {url}/chat/completions`, with at most `retries` further attempts after 429, 503 and lost connections."""

    def __init__(
        self, url: str, *, api_key: str | None = None, connections: int = 64, timeout: float = 600, retries: int = 6
    ) -> None:
        self._retries = retries
        self._client = httpx.AsyncClient(
            base_url=url.rstrip("/") + "/",
            headers={"authorization": f"Bearer {api_key}"} if api_key else {},
            timeout=httpx.Timeout(timeout, connect=10),
            limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections),
        )

    async def ask(self, body: Mapping[str, JsonValue], *, steps: bool = False) -> Reply:
        """One chat completion, of a longthink server with its steps where they are wanted.

        Raises `RequestFailed`, or `EndpointRefused` where going on makes no sense.
        """
        for attempt in range(self._retries + 1):
            started = time.perf_counter()
            wait: float | None = None
            try:
                response, told = await (self._watched(body) if steps else self._posted(body))
            except (httpx.ConnectError, httpx.ConnectTimeout, httpx.RemoteProtocolError, httpx.ReadError) as error:
                problem = f"{type(error).__name__}: {error}"
            except httpx.HTTPError as error:
                raise RequestFailed(f"{type(error).__name__}: {error}", attempt) from error
            else:
                if response.is_success:
                    return replace(_reply(response, time.perf_counter() - started, attempt), steps=told)
                problem = f"HTTP {response.status_code}: {_message(response)}"
                if response.status_code in REFUSED:
                    raise EndpointRefused(problem)
                if response.status_code not in RETRIED:
                    raise RequestFailed(problem, attempt, _error(response, "code"))
                wait = _retry_after(response)
            if attempt < self._retries:
                await asyncio.sleep(_backoff(attempt) if wait is None else wait)
        raise RequestFailed(problem, self._retries)

    async def _posted(self, body: Mapping[str, JsonValue]) -> tuple[httpx.Response, None]:
        return await self._client.post("chat/completions", json=dict(body)), None

    async def _watched(self, body: Mapping[str, JsonValue]) -> tuple[httpx.Response, tuple[Told, ...]]:
        """The response with its steps: a run in the background, because a stream alone does not tell the final answer.

        What a stream has shown stays there, also where the decoder has in the end preferred another answer.
        """
        wanted = {"background": True, "stream": True, "include_steps": True, "include_reasoning": False}
        told, run = [], ""
        async with self._client.stream("POST", "chat/completions", json={**body, **wanted}) as response:
            if not response.is_success:
                await response.aread()
                return response, ()
            async for line in response.aiter_lines():
                if line.startswith("data: {"):
                    chunk = _Chunk.model_validate_json(line.removeprefix("data: "))
                    run = chunk.id or run
                    if chunk.error:
                        raise RequestFailed(f"the run has failed: {chunk.error.message}", 0)
                    if chunk.longthink and chunk.longthink.get("event") == "finished":
                        told.append(Told.model_validate(chunk.longthink))
        return await self._client.get(f"chat/completions/{run}"), tuple(told)

    async def __aenter__(self) -> Endpoint:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.aclose()


def _reply(response: httpx.Response, seconds: float, retries: int) -> Reply:
    try:
        body = _Body.model_validate_json(response.content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise RequestFailed(f"the reply is not a chat completion: {place}: {first['msg']}", retries) from error
    if not body.choices:
        why = (body.longthink and body.longthink.error) or _Error()
        raise RequestFailed(f"the run has failed: {why.message}", retries)
    usage, choice = body.usage, body.choices[0]
    details, prompt = usage.completion_tokens_details, usage.prompt_tokens_details
    return Reply(
        answer=choice.message.content or "",
        finish=choice.finish_reason,
        completion_tokens=usage.completion_tokens,
        reasoning_tokens=(details and details.reasoning_tokens) or 0,
        prompt_tokens=usage.prompt_tokens,
        cached_tokens=(prompt and prompt.cached_tokens) or 0,
        by_role=body.longthink.by_role if body.longthink else None,
        interaction=body.longthink.interaction if body.longthink else None,
        seconds=seconds,
        retries=retries,
    )


def _message(response: httpx.Response) -> str:
    return _error(response, "message") or response.text[:200]


def _error(response: httpx.Response, field: str) -> str:
    """A field of OpenAI's error object, empty where there is none."""
    try:
        return str(response.json()["error"][field] or "")
    except (ValueError, KeyError, TypeError):
        return ""


def _retry_after(response: httpx.Response) -> float | None:
    text: str = response.headers.get("retry-after", "")
    return min(float(text), LONGEST_WAIT) if text.replace(".", "", 1).isdigit() else None


def _backoff(attempt: int) -> float:
    """Doubling from half a second, with full jitter on the upper half so that workers do not come back together."""
    return min(LONGEST_WAIT, 0.5 * 2.0**attempt) * random.uniform(0.5, 1.0)

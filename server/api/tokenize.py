"""POST /tokenize and /detokenize, as vLLM has them. Rule: the ids are those that the engine itself would read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import orjson
from fastapi import APIRouter
from fastapi import Request as HttpRequest
from fastapi.responses import Response
from pydantic import Field

from decoders.core.errors import InvalidRequest
from decoders.core.messages import Prompt
from server.api.body import read_json
from server.api.desk import Desk
from server.api.fields import Items
from server.api.messages import MessageIn, begun
from server.api.openapi import ERRORS, BytesRoute, request_body
from server.api.request import Flag, Request


class TokenizeRequest(Request):
    """A text or a conversation to count and to see as ids."""

    unsupported: ClassVar[Mapping[str, tuple[Any, ...]]] = {
        "chat_template": (None,),
        "chat_template_kwargs": (None, {}),
        "mm_processor_kwargs": (None, {}),
        "return_token_strs": (None, False),
        "tools": (None, []),
    }

    model: str | None = None
    """A served model; without it the first one."""
    prompt: str | None = None
    messages: Annotated[list[MessageIn], Items] | None = Field(default=None, min_length=1)
    """A conversation, to which the model's chat template is applied."""
    add_special_tokens: Flag = None
    """Whether the tokenizer adds its own tokens; by default to a prompt only, for templates have them already."""
    add_generation_prompt: Flag = None
    """Whether the assistant's turn is opened; it is by default, but for a last message that is continued."""
    continue_final_message: Flag = None
    """Leave the last message, which is the assistant's, open."""

    def read(self) -> tuple[Prompt, bool, bool]:
        """The prompt, whether special tokens are added, whether the assistant's turn is opened."""
        if (self.prompt is None) == (self.messages is None):
            raise InvalidRequest("send either prompt or messages", param="prompt")
        if self.messages is None:
            for name in ("add_generation_prompt", "continue_final_message"):
                if getattr(self, name):
                    raise InvalidRequest(f"{name} is only allowed with messages", param=name)
            return Prompt(text=self.prompt), self.add_special_tokens is not False, False
        messages, prefix = begun(self.messages, self.continue_final_message, self.add_generation_prompt)
        opened = bool(prefix) or self.add_generation_prompt is not False
        return Prompt(messages, prefix), bool(self.add_special_tokens), opened


class DetokenizeRequest(Request):
    """Ids to read."""

    model: str | None = None
    """A served model; without it the first one."""
    tokens: Annotated[list[Annotated[int, Field(ge=0, lt=2**31)]], Items] = Field(min_length=1)


def router(desk: Desk) -> APIRouter:
    """The routes."""
    routes, service = APIRouter(route_class=BytesRoute), desk.service

    def named(model: str | None) -> str:
        return next(iter(service.models)) if model is None else service.resolve(model)[0]

    @routes.post("/tokenize", openapi_extra=request_body(TokenizeRequest), response_class=Response, responses=ERRORS)
    async def tokenize(request: HttpRequest) -> Response:
        """The token ids of a text or a conversation."""
        asked = TokenizeRequest.parse(await read_json(request))
        model, (prompt, special, opened) = named(asked.model), asked.read()
        service.media.check(prompt.messages)
        ids = await service.tokenizer(model).tokenize(prompt, special=special, opened=opened)
        length = service.models[model].engine.context_length
        return _json({"count": len(ids), "max_model_len": length, "tokens": ids, "token_strs": None})

    @routes.post(
        "/detokenize", openapi_extra=request_body(DetokenizeRequest), response_class=Response, responses=ERRORS
    )
    async def detokenize(request: HttpRequest) -> Response:
        """The text of token ids."""
        asked = DetokenizeRequest.parse(await read_json(request))
        return _json({"prompt": await service.tokenizer(named(asked.model)).detokenize(asked.tokens)})

    return routes


def _json(content: dict[str, Any]) -> Response:
    return Response(orjson.dumps(content), media_type="application/json")

"""What the clients send for a question, sync and async alike. Rule: an openai key never goes to a default address."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from openai import OpenAIError
from openai.types import Model

from clients import request
from clients.decoders import Decoder
from clients.request import Budget
from clients.tape import Tape

HERE = "http://127.0.0.1:8000/v1"
"""Where `longthink serve` listens when it is told nothing else."""

Question = str | Sequence[Mapping[str, Any]]
"""A question, or a conversation that ends with one."""


def located(base_url: Any, api_key: Any) -> dict[str, Any]:
    """Where the server is and with which key to ask it, where that is not said."""
    elsewhere = base_url or os.environ.get("LONGTHINK_BASE_URL") or os.environ.get("OPENAI_BASE_URL")
    if api_key is None:
        usual = os.environ.get("OPENAI_API_KEY") if elsewhere else None
        api_key = os.environ.get("LONGTHINK_API_KEY") or usual or "none"
    return {"base_url": elsewhere or HERE, "api_key": api_key}


def first(models: Sequence[Model]) -> str:
    """The model to ask where none is named. Raises `OpenAIError` where there is none."""
    if not models:
        raise OpenAIError("the server lists no model")
    return models[0].id


def asked(
    question: Question, decoder: Decoder | None, budget: Budget | None, model: str, fields: Mapping[str, Any]
) -> dict[str, Any]:
    """The arguments of `chat.completions.create`."""
    messages = [{"role": "user", "content": question}] if isinstance(question, str) else [dict(m) for m in question]
    return {**fields, "messages": messages, "model": model, "decoder": decoder, "budget": budget}


def streamed(sent: Mapping[str, Any]) -> dict[str, Any]:
    """The same as a stream that tells its usage."""
    return {**sent, "stream": True, "stream_options": {"include_usage": True}}


def in_background(sent: Mapping[str, Any]) -> dict[str, Any]:
    """The same without waiting; a request that is sent again after an accident begins no second run."""
    body = {**(sent.get("extra_body") or {}), "include_steps": True, "background": True}
    return {**sent, "extra_body": body, "extra_headers": request.keyed(sent.get("extra_headers"))}


def kept(sent: Mapping[str, Any]) -> bool:
    """Whether the server shall keep the run: by default where a decoder says that it can."""
    resume = sent.get("resume")
    return sent["decoder"] is not None if resume is None else bool(resume)


def tape(sent: Mapping[str, Any], id: str = "", *, owned: bool = False) -> Tape:
    """Where the run is recorded."""
    known = {name: sent[name] for name in ("model", "messages", "decoder", "budget")}
    return Tape(id=id, kept=bool(id), owned=owned, **known)

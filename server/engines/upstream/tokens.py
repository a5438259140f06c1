"""A model's tokenizer, as a host shows it. Rule: what no host can tell exactly is not answered."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from decoders.core.errors import InvalidRequest
from decoders.core.messages import Prompt
from server.engines.upstream.choice import count, text_of
from server.engines.upstream.failures import Setback, refused
from server.engines.upstream.host import Host


async def tokenize(
    hosts: Sequence[Host], model: str, prompt: Prompt, *, special: bool = False, opened: bool = True
) -> tuple[int, ...]:
    """The prompt's ids; see `Tokenizing`. Raises `InvalidRequest` where no host can tell, `Setback`."""
    host = _able(hosts, model)
    if host.known.tokenizing == "messages":
        body = {"model": model, **_content(prompt, opened=opened), "add_special_tokens": special}
    else:
        content = prompt.text if prompt.text is not None else await _rendered(host, prompt)
        body = {"content": content, "add_special": special, "parse_special": True}
    tokens = (await _post(host, "/tokenize", body)).get("tokens")
    try:
        return tuple(count(id) for id in tokens or ())
    except (ValueError, TypeError) as error:
        raise Setback("/tokenize gave no token ids") from error


async def detokenize(hosts: Sequence[Host], model: str, ids: Sequence[int]) -> str:
    """The text of ids. Raises `InvalidRequest` where no host can tell, `Setback`."""
    host = _able(hosts, model)
    found = await _post(host, "/detokenize", {"model": model, "tokens": list(ids)})
    try:
        return text_of(found.get("prompt" if host.known.tokenizing == "messages" else "content"))
    except ValueError as error:
        raise Setback("/detokenize gave no text") from error


def _able(hosts: Sequence[Host], model: str) -> Host:
    for host in hosts:
        if host.known.tokenizing is not None:
            return host
    message = f"no upstream of {model} shows its token ids"
    raise InvalidRequest(message, param="model", code="unsupported_by_engine")


def _content(prompt: Prompt, *, opened: bool = True) -> dict[str, Any]:
    if prompt.text is not None:
        return {"prompt": prompt.text}
    messages = [message.wire() for message in prompt.messages]
    tools = {"tools": json.loads(prompt.tools)} if prompt.tools else {}
    if not prompt.prefix:
        return {"messages": messages, "add_generation_prompt": opened, **tools}
    messages.append({"role": "assistant", "content": prompt.prefix})
    return {"messages": messages, "continue_final_message": True, "add_generation_prompt": False, **tools}


async def _rendered(host: Host, prompt: Prompt) -> str:
    text = (await _post(host, "/apply-template", {"messages": _content(prompt)["messages"]})).get("prompt")
    if not isinstance(text, str):
        raise Setback("/apply-template gave no prompt")
    return text


async def _post(host: Host, path: str, body: dict[str, Any]) -> dict[str, Any]:
    status, found = await host.fetch("POST", host.root + path, body)
    if status in (400, 422):
        raise refused(found, "tokens" if "tokens" in body else "messages")
    if status != 200 or not isinstance(found, dict):
        raise Setback(f"{path} answered HTTP {status}")
    return found

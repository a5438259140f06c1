"""How many tokens a prompt has, by asking a host. Rule: what cannot be counted exactly is not answered."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from decoders.core.errors import InvalidRequest
from decoders.core.messages import Prompt
from server.engines.upstream.choice import count
from server.engines.upstream.failures import Setback
from server.engines.upstream.host import Host


async def count_tokens(hosts: Sequence[Host], model: str, prompt: Prompt) -> int:
    """The prompt's size at the first host that can tell. Raises `InvalidRequest` where none can, `Setback`."""
    for host in hosts:
        if host.known.counting == "messages":
            return await _tokenize(host, {"model": model, **_content(prompt)})
        if host.known.counting == "template":
            return await _tokenize(host, {"content": await _rendered(host, prompt), "parse_special": True})
    raise InvalidRequest(f"the upstream of {model} cannot count tokens", code="unsupported_parameter")


def _content(prompt: Prompt) -> dict[str, Any]:
    if prompt.text is not None:
        return {"prompt": prompt.text}
    messages = [message.wire() for message in prompt.messages]
    tools = {"tools": json.loads(prompt.tools)} if prompt.tools else {}
    if not prompt.prefix:
        return {"messages": messages, **tools}
    messages.append({"role": "assistant", "content": prompt.prefix})
    return {"messages": messages, **tools, "continue_final_message": True, "add_generation_prompt": False}


async def _rendered(host: Host, prompt: Prompt) -> str:
    if prompt.text is not None:
        return prompt.text
    found = await _post(host, "/apply-template", {"messages": _content(prompt)["messages"]})
    text = found.get("prompt")
    if not isinstance(text, str):
        raise Setback("/apply-template gave no prompt")
    return text


async def _tokenize(host: Host, body: dict[str, Any]) -> int:
    found = await _post(host, "/tokenize", body)
    tokens = found.get("tokens")
    try:
        return count(len(tokens) if isinstance(tokens, list) else found.get("count"))
    except ValueError as error:
        raise Setback("/tokenize gave no count") from error


async def _post(host: Host, path: str, body: dict[str, Any]) -> dict[str, Any]:
    status, found = await host.fetch("POST", host.root + path, body)
    if status != 200 or not isinstance(found, dict):
        raise Setback(f"{path} answered HTTP {status}")
    return found

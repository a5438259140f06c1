"""What a request asks for beyond text, held against the decoder and the engines that would have to do it.

Rule: what cannot be honoured is refused before anything starts, by the name of the field that asks for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from decoders.base import Decoder, Honour
from decoders.core.engine import Feature
from decoders.core.errors import InvalidRequest
from decoders.core.messages import Message
from decoders.core.task import Model, Reply

if TYPE_CHECKING:
    from server.service import Ask


@dataclass(frozen=True, slots=True)
class Wish:
    """One field's wish: the decoder must pass it on, the reply's engine have `reply`, every engine have `all`."""

    param: str
    honour: Honour
    reply: frozenset[Feature] = field(default_factory=frozenset)
    all: frozenset[Feature] = field(default_factory=frozenset)


def wishes(ask: Ask, reply: Reply) -> Iterator[Wish]:
    """What is asked for, under the names that the dialect has for it."""
    named = {"structure": "response_format", "prefix": "continue_final_message", **ask.names}

    def name(wanted: str) -> str:
        return named.get(wanted, wanted)

    if ask.environment is not None:
        yield Wish(name("environment"), "environment")
    if reply.tools:
        yield Wish(name("tools"), "tools", reply=frozenset({"tools"}))
    if reply.tool_choice:
        yield Wish(name("tool_choice"), "tools", reply=frozenset({"tool_choice"}))
    if "logprobs" in reply.sampling:
        yield Wish(name("logprobs"), "logprobs", reply=frozenset({"logprobs"}))
    if "stop" in reply.sampling:
        yield Wish(name("stop"), "stop")
    if reply.structure:
        yield Wish(name("structure"), "structure")
    if ask.prefix:
        yield Wish(name("prefix"), "prompt", reply=frozenset({"prefix"}))
    for prompt in ask.prompts:
        yield Wish(name("prompt"), "prompt", reply=frozenset({"token_ids" if prompt.text is None else "text"}))
    # every step reads the conversation, so every engine must understand what is in it
    if any(message.attachments for message in ask.messages):
        yield Wish(name("messages"), "images", all=frozenset({"images"}))
    if any(map(_about_tools, ask.messages)):
        yield Wish(name("messages"), "tools", all=frozenset({"tools"}))


def check(ask: Ask, reply: Reply, decoder: Decoder, models: Mapping[str, Model], model: str) -> None:
    """Raises `InvalidRequest` for a wish that cannot be honoured, or for a decoder that cannot work with the model."""
    nested = decoder.nested()
    for inner in nested:
        if missing := inner.needs - models[model].engine.features:
            raise InvalidRequest(
                f"the decoder {inner.name} needs an engine with {_listed(missing)}, which the model {model} has not",
                param="decoder",
                code="decoder_not_supported",
            )
    _check_interaction(ask, reply, decoder)
    served = involved(decoder, model)
    for name in served:
        models[name].pack.format(reply.answer_format)
    for wish in wishes(ask, reply):
        for inner in nested[:1] if wish.honour == "environment" else nested:
            if wish.honour not in inner.honours:
                raise _refusal(wish, f"the decoder {inner.name} cannot honour {wish.honour}")
        for name in served:
            wanted = wish.all | wish.reply if name == model else wish.all
            if missing := wanted - models[name].engine.features:
                raise _refusal(wish, f"the model {name} does not support {_listed(missing)}")


def involved(decoder: Decoder, model: str) -> list[str]:
    """All served models that may get calls."""
    return list(dict.fromkeys([model, *(name for inner in decoder.nested() for _, name in other_models(inner))]))


def _check_interaction(ask: Ask, reply: Reply, decoder: Decoder) -> None:
    """Raises `InvalidRequest` for an agent without a world, with two of them, or with more than one choice."""
    agents = [inner.name for inner in decoder.nested() if inner.interactive]
    if ask.environment is not None:
        for wished in sorted(reply.wishes):
            param = {"structure": "response_format", **ask.names}.get(wished, wished)
            raise InvalidRequest(f"{param} and environment exclude each other", param=param)
    elif agents and not reply.tools and not any(map(_about_tools, ask.messages)):
        message = f"the decoder {agents[0]} needs an environment or tools"
        raise InvalidRequest(message, param="decoder", code="decoder_not_supported")
    if ask.n > 1 and (agents or ask.environment):
        raise InvalidRequest("n: an agent acts once, so there is one choice", param="n")


def other_models(decoder: Decoder) -> list[tuple[str, str]]:
    """The served models that a decoder's own options name, each with the option."""
    named: list[tuple[str, str]] = []
    for option in type(decoder).model_fields:
        value = getattr(decoder, option)
        if option.endswith("_models"):
            named += [(option, model) for model in value]
        elif option.endswith("_model") and value is not None:
            named.append((option, value))
    return named


def _about_tools(message: Message) -> bool:
    return bool(message.tool_calls) or message.role == "tool"


def _listed(features: frozenset[Feature]) -> str:
    return ", ".join(sorted(features))


def _refusal(wish: Wish, message: str) -> InvalidRequest:
    return InvalidRequest(f"{wish.param}: {message}", param=wish.param, code="unsupported_parameter")

"""What a request asks for is held against every decoder and every engine that would have to do it."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest

from decoders.base import Decoder, Honour
from decoders.core.engine import Feature
from decoders.core.errors import InvalidRequest
from decoders.core.messages import Attachment, Message
from decoders.core.task import Model, Reply
from decoders.direct import Direct
from decoders.prompts import Pack
from decoders.rc import RC
from server.engines.scripted import ScriptedEngine
from server.service import Ask
from server.wishes import check

HELLO = Message("user", "hello")
PICTURE = Message("user", "hello", (Attachment("{}"),))
RESULT = Message("tool", "x", tool_call_id="c")


class Text(Direct):
    """Passes nothing on."""

    honours: ClassVar[frozenset[Honour]] = frozenset()


class Ids(Direct):
    """Works on tokens."""

    needs: ClassVar[frozenset[Feature]] = frozenset({"token_ids"})


def refusal(
    decoder: Decoder, reply: Reply, *messages: Message, lacks: str = "", **names: str
) -> tuple[Any, ...] | None:
    """Param and code of what `check` raises, for an engine that can do everything but one thing."""
    able = ScriptedEngine(model="able")
    unable = ScriptedEngine(model="unable")
    able.features |= {"structure"}
    unable.features = able.features - {lacks}
    models = {engine.model: Model(engine, Pack.load("plain")) for engine in (able, unable)}
    ask = Ask("unable", messages or (HELLO,), names=names)
    try:
        check(ask, reply, decoder, models, "unable")
    except InvalidRequest as error:
        return error.param, error.code
    return None


WISHES: list[tuple[Reply, Message, str, str]] = [
    (Reply(tools="[{}]"), HELLO, "tools", "tools"),
    (Reply(tools="[{}]", tool_choice='"required"'), HELLO, "tools", "tool_choice"),
    (Reply({"logprobs": 0}), HELLO, "logprobs", "logprobs"),
    (Reply({"stop": ("x",)}), HELLO, "stop", ""),
    (Reply({"structure": "{}"}), HELLO, "response_format", ""),
    (Reply(), PICTURE, "messages", "images"),
    (Reply(), RESULT, "messages", "tools"),
]


@pytest.mark.parametrize(("reply", "message", "param", "feature"), WISHES)
def test_every_wish_is_held_against_decoders_and_engine(
    reply: Reply, message: Message, param: str, feature: str
) -> None:
    assert refusal(Direct(), reply, message) is None
    assert refusal(Text(), Reply(), HELLO) is None
    for decoder in (Text(), RC(inner=Text())):
        assert refusal(decoder, reply, message) == (param, "unsupported_parameter")
    if feature:
        named = feature if feature == "tool_choice" else param
        assert refusal(Direct(), reply, message, lacks=feature) == (named, "unsupported_parameter")


def test_a_dialect_has_its_own_names() -> None:
    reply = Reply({"structure": "{}"})
    assert refusal(Text(), reply, structure="text.format") == ("text.format", "unsupported_parameter")


def test_only_what_is_read_by_all_steps_is_asked_of_other_models() -> None:
    able = ScriptedEngine(model="able")
    unable = ScriptedEngine(model="unable")
    unable.features = frozenset()
    models = {engine.model: Model(engine, Pack.load("plain")) for engine in (able, unable)}
    decoder = RC(summary_model="unable")
    check(Ask("able", (HELLO,)), Reply({"logprobs": 0}, tools="[{}]"), decoder, models, "able")
    with pytest.raises(InvalidRequest, match="unable"):
        check(Ask("able", (PICTURE,)), Reply(), decoder, models, "able")


def test_a_decoder_that_needs_more_than_the_engine_has() -> None:
    assert refusal(Ids(), Reply()) is None
    for decoder in (Ids(), RC(inner=Ids())):
        assert refusal(decoder, Reply(), lacks="token_ids") == ("decoder", "decoder_not_supported")


def test_an_answer_format_must_be_known_to_every_pack() -> None:
    assert refusal(Direct(), Reply(answer_format="code")) is None
    assert refusal(Direct(), Reply(answer_format="haiku")) == ("answer_format", "invalid_value")

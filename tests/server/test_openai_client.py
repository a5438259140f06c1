"""The official client, which checks every field of a response when it is told to be strict."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import openai
import pytest

from server.engines.scripted import ScriptedEngine
from tests.server.conftest import HELLO, Live, serving

REPLY = "<think>one two three</think>four five"


@pytest.fixture(scope="module")
def speaking() -> Iterator[Live]:
    with serving(base=ScriptedEngine([REPLY], model="base")) as running:
        yield running


@pytest.fixture
def client(speaking: Live) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(
        base_url=f"{speaking.url}/v1", api_key="x", max_retries=0, _strict_response_validation=True
    ) as made:
        yield made


def test_whole_response_has_answer_reasoning_and_exact_usage(client: openai.OpenAI) -> None:
    done = client.chat.completions.create(model="base", messages=HELLO, seed=1)
    choice = done.choices[0]
    assert choice.message.content == "four five"
    assert choice.message.reasoning == "one two three"
    assert (choice.finish_reason, choice.message.refusal, choice.logprobs) == ("stop", None, None)
    assert done.usage.completion_tokens == 4  # <think>one | two | three</think>four | five
    assert done.usage.total_tokens == done.usage.prompt_tokens + 4
    assert done.usage.completion_tokens_details.reasoning_tokens == 3
    assert done.id.startswith("chatcmpl-")
    assert done.longthink["seed"] == 1


@pytest.mark.parametrize("decoder", ["direct", "rc", "self_consistency", "best_of_n"])
def test_stream_says_what_the_whole_response_says(client: openai.OpenAI, decoder: str) -> None:
    options = {"rc": {"turns": 3}, "self_consistency": {"n": 3}, "best_of_n": {"n": 2}}.get(decoder, {})
    extra = {"decoder": {"name": decoder, **options}}
    whole = client.chat.completions.create(model="base", messages=HELLO, seed=5, extra_body=extra)
    content, reasoning, chunks = "", "", []
    stream = client.chat.completions.create(
        model="base", messages=HELLO, seed=5, stream=True, stream_options={"include_usage": True}, extra_body=extra
    )
    for chunk in stream:
        chunks.append(chunk)
        for choice in chunk.choices:
            content += choice.delta.content or ""
            reasoning += getattr(choice.delta, "reasoning", None) or ""
    assert chunks[0].choices[0].delta.role == "assistant"
    assert content == whole.choices[0].message.content
    assert reasoning == whole.choices[0].message.reasoning
    assert chunks[-2].choices[0].finish_reason == whole.choices[0].finish_reason
    assert chunks[-1].choices == []
    assert chunks[-1].usage == whole.usage
    assert all(c.usage is None for c in chunks[:-1])


def test_continuous_usage_counts_the_steps_that_have_ended(client: openai.OpenAI) -> None:
    options: Any = {"include_usage": True, "continuous_usage_stats": True}
    extra = {"decoder": {"name": "rc", "turns": 3}}
    stream = list(
        client.chat.completions.create(
            model="base", messages=HELLO, stream=True, stream_options=options, extra_body=extra
        )
    )
    counts = [chunk.usage.completion_tokens for chunk in stream]
    assert counts == sorted(counts)
    assert counts[0] == 0 < counts[-2] == counts[-1]


def test_usage_adds_up_to_what_the_engine_spoke(client: openai.OpenAI, speaking: Live) -> None:
    before = speaking.engine.calls
    done = client.chat.completions.create(model="base:rc", messages=HELLO, extra_body={"decoder": {"turns": 4}})
    assert speaking.engine.calls - before == 7
    assert done.usage.completion_tokens == 7 * 4
    assert done.longthink["by_role"] == {"reason": 16, "summarise": 12}
    assert done.longthink["steps"] == 7
    assert done.longthink["budget"]["spent"] == 28


def test_logprobs_belong_to_the_answer(client: openai.OpenAI) -> None:
    done = client.chat.completions.create(model="base", messages=HELLO, logprobs=True, top_logprobs=2)
    assert len(done.choices[0].logprobs.content) == 1  # only the last token lies wholly behind the thinking block
    stream = client.chat.completions.create(model="base", messages=HELLO, logprobs=True, stream=True)
    found = [c.logprobs for chunk in stream for c in chunk.choices if c.logprobs]
    assert len(found) == 1
    assert len(found[0].content) == 1


def test_choices_share_one_purse(client: openai.OpenAI) -> None:
    done = client.chat.completions.create(model="base", messages=HELLO, n=3, max_completion_tokens=7)
    assert [c.index for c in done.choices] == [0, 1, 2]
    assert done.usage.completion_tokens <= 7
    assert all(c.finish_reason == "length" for c in done.choices)
    stream = client.chat.completions.create(model="base", messages=HELLO, n=3, max_completion_tokens=60, stream=True)
    told = dict.fromkeys(range(3), "")
    finished = []
    for chunk in stream:
        for choice in chunk.choices:
            told[choice.index] += choice.delta.content or ""
            finished += [choice.index] if choice.finish_reason else []
    assert told == dict.fromkeys(range(3), "four five")
    assert sorted(finished) == [0, 1, 2]


def test_models_are_listed_with_decoders(client: openai.OpenAI) -> None:
    names = {m.id for m in client.models.list()}
    assert {"base", "base:rc", "base:direct"} <= names
    assert client.models.retrieve("base:rc").id == "base:rc"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("nobody")


def test_errors_are_the_right_exceptions(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as missing:
        client.chat.completions.create(model="nobody", messages=HELLO)
    assert (missing.value.param, missing.value.code) == ("model", "model_not_found")
    with pytest.raises(openai.BadRequestError) as wrong:
        client.chat.completions.create(model="base", messages=HELLO, temperature=9)
    assert (wrong.value.param, wrong.value.type) == ("temperature", "invalid_request_error")
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(model="base:nope", messages=HELLO, stream=True)


def test_a_failure_in_the_middle_of_a_stream_reaches_the_client() -> None:
    class Failing(ScriptedEngine):
        async def generate(self, prompt, sampling):
            async for chunk in super().generate(prompt, sampling):
                yield chunk
                if self.calls > 1:
                    raise RuntimeError("the card fell off the bus")

    with serving(base=Failing([REPLY], model="base")) as running:
        events = running.events(decoder={"name": "rc", "turns": 2})
        assert events[-1]["error"]["code"] == "engine_error"
        assert "[DONE]" not in events
        assert running.ask(decoder={"name": "rc", "turns": 2}).status_code == 500
        with openai.OpenAI(base_url=f"{running.url}/v1", api_key="x", max_retries=0) as client:
            stream = client.chat.completions.create(model="base:rc", messages=HELLO, stream=True)
            with pytest.raises(openai.APIError, match="fell off"):
                list(stream)

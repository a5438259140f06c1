"""What comes back: text, reasoning, counts, log-probabilities, tool calls, in every dialect."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from benchmarks.fake_upstream import Exchange, Request
from decoders.core.errors import EngineError, EngineUnavailable
from decoders.core.messages import Message, Prompt
from server.engines.upstream.reply import Reply
from tests.engines.upstream.support import (
    HELLO,
    Answer,
    Upstream,
    complete,
    engine,
    event,
    events,
    run,
    say,
    until,
    usage,
)


def reply(answer: Answer, owned_by: str = "fake", prompt: Prompt = HELLO, **sampling: Any) -> list[Any]:
    async def main() -> list[Any]:
        async with engine(Upstream(answer, owned_by=owned_by)) as made:
            return await complete(made, prompt, **sampling)

    return run(main)


def test_the_last_chunk_makes_the_count_exact() -> None:
    growing = Reply(thinking=False, counted=False)
    sizes = [chunk.size for word in "abc" for chunk in growing.take([event({"content": word})])]
    growing.take([event(finish="stop"), usage(5)])
    (last,) = growing.end()
    assert (sizes, last.size) == ([1, 1, 1], 2)
    assert (last.finish, last.prompt_tokens) == ("stop", 7)
    (done,) = reply(say("abc", "def", tokens=1))
    assert (done.text, done.completion_tokens) == ("abcdef", 1)


def test_token_ids_are_the_count() -> None:
    told = [event({"content": "a"}, token_ids=[5]), event({"content": "bc"}, token_ids=[6, 7]), event(finish="length")]
    (done,) = reply(events(*told, usage(3)), "vllm")
    assert (done.token_ids, done.completion_tokens, done.finish, done.prompt_tokens) == ((5, 6, 7), 3, "length", 7)


def test_usage_that_goes_along_is_the_count() -> None:
    told = [
        event({"content": "abc"}, usage={"prompt_tokens": 4, "completion_tokens": 2}),
        event({"content": "d"}, usage={"prompt_tokens": 4, "completion_tokens": 5}),
        event(finish="stop", usage={"prompt_tokens": 4, "completion_tokens": 6}),
        usage(6, 4),
    ]
    growing = Reply(thinking=False, counted=True)
    found = [chunk for piece in told for chunk in growing.take([piece])] + growing.end()
    assert [chunk.size for chunk in found] == [2, 3, 1, 0]
    assert found[0].prompt_tokens == 4


def test_what_arrives_together_is_one_chunk_and_counts_the_same() -> None:
    told = [event({"content": word}, token_ids=[i]) for i, word in enumerate("abc")]
    growing = Reply(thinking=False, counted=True)
    (chunk,) = growing.take(told)
    assert (chunk.text, chunk.token_ids) == ("abc", (0, 1, 2))


def test_several_completions_of_one_call_are_counted_one_by_one() -> None:
    told = [
        event({"content": "a"}, index=0, token_ids=[1]),
        event({"content": "b"}, index=1, token_ids=[2, 3]),
        event({}, index=1, finish="length"),
        event({"content": "c"}, index=0, token_ids=[4]),
        event({}, index=0, finish="stop"),
        usage(4),
    ]
    one, two = reply(events(*told), "vllm", n=2)
    assert (one.text, one.completion_tokens, one.finish) == ("ac", 2, "stop")
    assert (two.text, two.completion_tokens, two.finish) == ("b", 2, "length")


def test_several_completions_of_one_call_without_counts_are_an_error() -> None:
    told = [event({"content": "a"}, index=i) for i in (0, 1)] + [event(index=i, finish="stop") for i in (0, 1)]
    with pytest.raises(EngineError, match="did not count each completion"):
        reply(events(*told, usage(2)), "vllm", n=2)


def test_elsewhere_several_completions_are_several_calls_with_seeds_of_their_own() -> None:
    async def main() -> None:
        async def together(request: Request, exchange: Exchange) -> None:
            await until(lambda: upstream.most == 3)
            await say(*["x"] * (request.json()["seed"] - 39))(request, exchange)

        upstream = Upstream(together)
        async with engine(upstream) as made:
            found = await complete(made, n=3, seed=40)
            assert [done.completion_tokens for done in found] == [1, 2, 3]
            assert not any("n" in body for body in upstream.bodies)

    run(main)


@pytest.mark.parametrize("field", ["reasoning", "reasoning_content"])
def test_reasoning_fields_are_read(field: str) -> None:
    told = [event({field: "hm"}), event({field: "m"}), event({"content": "42"}), event(finish="stop")]
    details = {"completion_tokens_details": {"reasoning_tokens": 9}}
    (done,) = reply(events(*told, usage(10, **details)))
    assert (done.reasoning, done.answer, done.completion_tokens, done.answer_tokens) == ("hmm", "42", 10, 1)


def test_reasoning_as_parts_of_the_content_is_read() -> None:
    thought = {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}]}
    told = [event(thought), event({"content": [{"type": "text", "text": "4"}]}), event({"content": "2"}, finish="stop")]
    (done,) = reply(events(*told, usage(3)))
    assert (done.reasoning, done.answer) == ("hm", "42")


def test_reasoning_that_nobody_counted_is_not_taken_for_none() -> None:
    told = [event({"reasoning": "a"}), event({"reasoning": "b"}), event({"content": "c"}), event(finish="stop")]
    (done,) = reply(events(*told, usage(3, completion_tokens_details={"reasoning_tokens": 0})))
    assert (done.completion_tokens, done.answer_tokens) == (3, 1)


def test_tool_calls_come_whole() -> None:
    told = [
        event(
            {"tool_calls": [{"index": 0, "id": "c1", "type": "function", "function": {"name": "f", "arguments": ""}}]}
        ),
        event({"tool_calls": [{"index": 0, "function": {"arguments": '{"x":'}}]}),
        event({"tool_calls": [{"index": 1, "function": {"name": "g", "arguments": "{}"}}]}),
        event({"tool_calls": [{"index": 0, "function": {"arguments": " 1}"}}]}),
        event(finish="tool_calls"),
    ]
    (done,) = reply(events(*told, usage(12)))
    one, two = done.tool_calls
    assert (one.id, one.name, one.arguments) == ("c1", "f", '{"x": 1}')
    assert (two.name, two.arguments) == ("g", "{}")
    assert two.id
    assert (done.finish, done.completion_tokens, done.text) == ("tool_calls", 12, "")


def test_a_named_tool_that_ends_with_stop_is_a_tool_call() -> None:
    call = {"index": 0, "id": "c", "function": {"name": "f", "arguments": "{}"}}
    (done,) = reply(events(event({"tool_calls": [call]}), event(finish="stop"), usage(3)))
    assert done.finish == "tool_calls"


def test_logprobs_of_a_chat() -> None:
    content = [
        {
            "token": "a",
            "logprob": -0.5,
            "top_logprobs": [{"token": "a", "logprob": -0.5}, {"token": "b", "logprob": -1}],
        }
    ]
    told = [event({"content": "a"}, logprobs={"content": content}, token_ids=[9]), event(finish="stop"), usage(1)]
    (done,) = reply(events(*told), "vllm", logprobs=2)
    (entry,) = done.logprobs
    assert (entry.id, entry.text, entry.logprob) == (9, "a", -0.5)
    assert entry.top == ((-1, "a", -0.5), (-1, "b", -1.0))


def test_logprobs_of_a_completion() -> None:
    found = {"tokens": ["a", "b"], "token_logprobs": [None, -2], "top_logprobs": [None, {"b": -2, "c": -3}]}
    told = [{"choices": [{"index": 0, "text": "ab", "logprobs": found, "finish_reason": "stop"}]}, usage(2)]
    (done,) = reply(events(*told), prompt=Prompt(text="x"), logprobs=2)
    assert [(entry.text, entry.logprob) for entry in done.logprobs] == [("a", float("-inf")), ("b", -2.0)]
    assert done.logprobs[1].top == ((-1, "b", -2.0), (-1, "c", -3.0))


@pytest.mark.parametrize(
    ("told", "finish"), [("stop", "stop"), ("length", "length"), ("content_filter", "stop"), ("eos", "stop")]
)
def test_finish_reasons(told: str, finish: str) -> None:
    (done,) = reply(events(event({"content": "x"}), event(finish=told), usage(1)))
    assert done.finish == finish


def test_a_completion_that_failed_at_the_upstream_is_an_error() -> None:
    with pytest.raises(EngineError, match="abort"):
        reply(events(event({"content": "x"}), event(finish="abort"), usage(1)))


@pytest.mark.parametrize("details", [{"prompt_tokens_details": {"cached_tokens": 3}}, {"prompt_cache_hit_tokens": 3}])
def test_cached_tokens_are_told(details: dict[str, Any]) -> None:
    (done,) = reply(events(event({"content": "x"}), event(finish="stop"), usage(1, **details)))
    assert (done.prompt_tokens, done.cached_tokens) == (7, 3)


def test_a_reply_without_usage_is_an_error_not_an_estimate() -> None:
    with pytest.raises(EngineError, match="no token counts"):
        reply(events(event({"content": "x"}), event(finish="stop")))


@pytest.mark.parametrize("stream", [True, False])
def test_replies_in_one_piece_say_the_same(stream: bool) -> None:
    message = {"role": "assistant", "content": "42", "reasoning_content": "hm"}
    body = {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], **usage(5)}
    body["choices"] = [{"index": 0, "message": message, "finish_reason": "stop"}]

    async def answer(request: Request, exchange: Exchange) -> None:
        exchange.whole(200, body)

    async def main() -> None:
        upstream = Upstream(answer)
        async with engine(upstream, stream=stream) as made:
            (done,) = await complete(made)
            assert (done.answer, done.reasoning, done.completion_tokens) == ("42", "hm", 5)
            assert ("stream" in upstream.bodies[0]) is stream

    run(main)


def test_text_cut_anywhere_between_the_bytes_of_a_character_is_whole() -> None:
    data = b"".join(
        b"data: " + orjson.dumps(e) + b"\r\n\r\n"
        for e in (event({"content": "naïve 😀"}), event(finish="stop"), usage(3))
    )

    async def answer(request: Request, exchange: Exchange) -> None:
        exchange.send(b": comment\n\nevent: x\n")
        for place in range(len(data)):
            exchange.send(data[place : place + 1])
        exchange.end()

    (done,) = reply(answer)
    assert (done.text, done.completion_tokens) == ("naïve 😀", 3)


def test_with_a_tokenizer_replies_are_continued_where_chats_cannot_be(unicode_folder: Any) -> None:
    async def main() -> None:
        upstream = Upstream(events({"choices": [{"index": 0, "text": " on", "finish_reason": "stop"}]}, usage(1)))
        async with engine(upstream, tokenizer=unicode_folder) as made:
            assert "prefix" in made.features
            (done,) = await complete(made, Prompt((Message("user", "hello"),), prefix="</think>go"))
            assert done.text == " on"
            assert await made.count(HELLO) > 3
        sent = upstream.requests[0]
        assert sent.path == "/v1/completions"
        assert all(isinstance(id, int) for id in sent.json()["prompt"])

    run(main)


def test_an_empty_completion_is_one() -> None:
    (done,) = reply(events(event(finish="stop"), usage(1)))
    assert (done.text, done.completion_tokens) == ("", 1)


def test_a_stream_that_never_began_is_unavailable() -> None:
    with pytest.raises(EngineUnavailable, match="broke off"):
        reply(events(event({"role": "assistant", "content": ""}), done=False))

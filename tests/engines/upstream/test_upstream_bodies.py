"""What each dialect is sent, and what is refused by name."""

from __future__ import annotations

import json
from typing import Any

import pytest

from decoders.core.errors import InvalidRequest
from decoders.core.messages import Attachment, Message, Prompt, Sampling, ToolCall
from server.engines.upstream.body import Call, check, render
from server.engines.upstream.dialects import DIALECTS, detect

CHAT = Prompt((Message("user", "hi"),))
TOOLS = json.dumps([{"type": "function", "function": {"name": "f"}}])
FORM = json.dumps({"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}})


def body(dialect: str, prompt: Prompt = CHAT, *, n: int = 1, context: int = 8000, **sampling: Any) -> dict[str, Any]:
    call = Call("m", prompt, Sampling(**{"max_tokens": 50, **sampling}), n)
    check(call, DIALECTS[dialect])
    path, data = render(call, DIALECTS[dialect], context, priority=DIALECTS[dialect].priority)
    return {"path": path, **json.loads(data)}


def test_openai_is_sent_nothing_beyond_its_api() -> None:
    assert body("openai", seed=5, stop=("x",), temperature=0.5, frequency_penalty=0.1) == {
        "path": "/chat/completions",
        "model": "m",
        "messages": [{"role": "user", "content": "hi"}],
        "max_completion_tokens": 50,
        "temperature": 0.5,
        "frequency_penalty": 0.1,
        "stop": ["x"],
        "seed": 5,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def test_vllm_counts_each_of_several_completions() -> None:
    assert body("vllm", n=3, top_k=7, min_p=0.1, priority=2, logprobs=4) == {
        "path": "/chat/completions",
        "model": "m",
        "messages": [{"role": "user", "content": "hi"}],
        "max_tokens": 50,
        "temperature": 1.0,
        "top_p": 1.0,
        "top_k": 7,
        "min_p": 0.1,
        "priority": 2,
        "logprobs": True,
        "top_logprobs": 4,
        "n": 3,
        "stream": True,
        "return_token_ids": True,
        "stream_options": {"include_usage": True, "continuous_usage_stats": True},
    }


@pytest.mark.parametrize(("dialect", "off"), [("vllm", -1), ("sglang", -1), ("llamacpp", 0), ("longthink", -1)])
def test_all_tokens_are_considered_whatever_the_servers_default(dialect: str, off: int) -> None:
    assert (body(dialect)["top_k"], body(dialect)["min_p"]) == (off, 0.0)


@pytest.mark.parametrize(
    ("dialect", "fields", "message"),
    [
        ("vllm", {"continue_final_message": True, "add_generation_prompt": False}, {}),
        ("sglang", {"continue_final_message": True, "add_generation_prompt": False}, {}),
        ("llamacpp", {}, {}),
        ("longthink", {"continue_final_message": True}, {}),
        ("deepseek", {}, {"prefix": True}),
        ("mistral", {}, {"prefix": True}),
    ],
)
def test_a_reply_that_has_begun_is_continued(dialect: str, fields: dict[str, Any], message: dict[str, Any]) -> None:
    sent = body(dialect, Prompt(CHAT.messages, prefix="So"))
    assert sent["messages"][-1] == {"role": "assistant", "content": "So", **message}
    assert {name: sent.get(name) for name in fields} == fields


def test_prompts_without_a_template_go_to_completions() -> None:
    assert body("llamacpp", Prompt(token_ids=(1, 2)), logprobs=3) | {} == {
        "path": "/completions",
        "model": "m",
        "prompt": [1, 2],
        "max_tokens": 50,
        "temperature": 1.0,
        "top_p": 1.0,
        "top_k": 0,
        "min_p": 0.0,
        "logprobs": 3,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    assert body("openai", Prompt(text="Once"))["prompt"] == "Once"
    assert body("openai", Prompt(text="Once"))["max_tokens"] == 50


def test_tools_structure_and_whole_messages_are_passed_on() -> None:
    call = ToolCall("c1", "f", "{}")
    image = Attachment(json.dumps({"type": "image_url", "image_url": {"url": "data:"}}))
    messages = (
        Message("user", "look", attachments=(image,)),
        Message("assistant", tool_calls=(call,)),
        Message("tool", "42", tool_call_id="c1"),
    )
    sent = body("openai", Prompt(messages, tools=TOOLS, tool_choice='"required"'), structure=FORM)
    assert sent["messages"] == [message.wire() for message in messages]
    assert (sent["tools"], sent["tool_choice"]) == (json.loads(TOOLS), "required")
    assert sent["response_format"] == json.loads(FORM)


def test_mistral_has_its_own_words() -> None:
    sent = body("mistral", seed=3)
    assert sent["random_seed"] == 3
    assert "stream_options" not in sent


def test_a_limit_beyond_the_context_is_left_to_the_server() -> None:
    assert "max_tokens" not in body("vllm", max_tokens=8000)
    assert body("vllm", max_tokens=7999)["max_tokens"] == 7999
    assert body("vllm", Prompt(text="x"), max_tokens=9000)["max_tokens"] == 9000
    assert body("openai", max_tokens=9000)["max_completion_tokens"] == 9000


@pytest.mark.parametrize(
    ("dialect", "prompt", "sampling", "param"),
    [
        ("openai", CHAT, {"top_k": 5}, "top_k"),
        ("openai", CHAT, {"min_p": 0.1}, "min_p"),
        ("mistral", CHAT, {"logprobs": 1}, "logprobs"),
        ("openai", Prompt(CHAT.messages, prefix="So"), {}, "messages"),
        ("mistral", Prompt(text="x"), {}, "prompt"),
        ("mistral", Prompt(token_ids=(1,)), {}, "prompt"),
        ("deepseek", Prompt((Message("user", "x", (Attachment("{}"),)),)), {}, "messages"),
        ("deepseek", CHAT, {"structure": FORM}, "response_format"),
    ],
)
def test_what_a_dialect_cannot_express_is_refused_by_name(
    dialect: str, prompt: Prompt, sampling: dict[str, Any], param: str
) -> None:
    with pytest.raises(InvalidRequest, match=dialect) as refused:
        body(dialect, prompt, **sampling)
    assert refused.value.param == param


def test_owners_tell_the_dialect() -> None:
    assert [detect(owner).name for owner in ("vllm", "mistralai", "deepseek", "system")] == [
        "vllm",
        "mistral",
        "deepseek",
        "openai",
    ]

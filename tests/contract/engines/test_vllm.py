"""What vLLM alone can do: its parsers, adapters by name, priorities, and its arguments."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from decoders.core.errors import InvalidRequest
from decoders.core.messages import Attachment, Message, Prompt, Sampling
from server.engines import open_engines
from server.model_options import SHIPPED
from server.settings import load
from tests.contract.engines.support import (
    HAS_VLLM,
    QUESTIONS,
    Runner,
    Subject,
    chat,
    collect,
    greedy,
    network,
    opened,
    prompt_ids,
    tokenizer,
)

needs_vllm = pytest.mark.skipif(not HAS_VLLM, reason="vLLM is not installed here: see `make test-vllm`")
TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"enum": ["Rome"]}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}


@pytest.fixture(scope="module")
def thinking(run: Runner) -> Iterator[Subject]:
    with opened("vllm", SHIPPED, run, **{"reasoning-parser": "deepseek_r1"}) as subject:
        yield subject


def merged(folder: Path, adapter: Path) -> Any:
    """The network with the adapter added to its weights."""
    import copy

    from safetensors.torch import load_file

    net = copy.deepcopy(network(folder))
    weights = load_file(adapter / "adapter_model.safetensors")
    for name, module in net.named_modules():
        if name.endswith("q_proj"):
            low, high = (weights[f"base_model.model.{name}.lora_{side}.weight"] for side in "AB")
            module.weight.data += high @ low
    return net


def test_an_adapter_is_a_model_of_its_own(able: Subject, adapter: Path, run: Runner) -> None:
    poet = able.others["poet"]
    assert (poet.model, poet.context_length) == ("poet", able.engine.context_length)
    ids = prompt_ids(able.folder, "hello")
    for engine, net in ((able.engine, network(able.folder)), (poet, merged(able.folder, adapter))):
        (result,) = run(collect(engine, chat("hello"), Sampling(16, temperature=0)))
        assert result.ids == greedy(net, ids, 16)


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "weather"}}])
def test_a_tool_call_comes_whole_on_the_last_chunk(able: Subject, run: Runner, choice: Any) -> None:
    assert "tools" in able.engine.features
    prompt = Prompt((Message("user", "weather?"),), tools=json.dumps([TOOL]), tool_choice=json.dumps(choice))
    (result,) = run(collect(able.engine, prompt, Sampling(300, seed=3)))
    assert result.finish == "tool_calls"
    assert [chunk.tool_calls != () for chunk in result.chunks] == [False] * (len(result.chunks) - 1) + [True]
    (call,) = result.calls
    assert (call.name, json.loads(call.arguments)) == ("weather", {"city": "Rome"})
    assert call.id
    assert "tool_call" not in result.text
    assert result.tokens == len(result.ids)


def test_tools_need_a_parser(thinking: Subject, run: Runner) -> None:
    assert "tools" not in thinking.engine.features
    with pytest.raises(InvalidRequest) as caught:
        run(collect(thinking.engine, Prompt((Message("user", "hi"),), tools=json.dumps([TOOL])), Sampling(5)))
    assert caught.value.param == "tools"


def test_images_need_a_model_that_sees(able: Subject, run: Runner) -> None:
    assert "images" not in able.engine.features
    picture = Attachment(json.dumps({"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}))
    with pytest.raises(InvalidRequest) as caught:
        run(collect(able.engine, Prompt((Message("user", "what is it?", (picture,)),)), Sampling(5)))
    assert (caught.value.param, caught.value.code) == ("messages", "unsupported_content")


def test_a_smaller_priority_is_served_first(able: Subject, run: Runner) -> None:
    import asyncio

    ended: list[int] = []

    async def one(priority: int) -> None:
        await collect(able.engine, chat("go"), Sampling(40, seed=1, priority=priority, n=8))
        ended.append(priority)

    async def ask() -> None:
        await asyncio.gather(*(one(priority) for priority in (0, 0, 7, 3, 5)))

    run(ask())
    assert ended[2:] == [3, 5, 7]


def test_the_reasoning_parser_separates_what_was_thought(thinking: Subject, run: Runner) -> None:
    (result,) = run(collect(thinking.engine, chat(QUESTIONS[0]), Sampling(400, temperature=0)))
    plain = greedy(network(SHIPPED), prompt_ids(SHIPPED, QUESTIONS[0]), 400)
    assert result.ids == plain
    assert result.reasoning.split()
    assert "think>" not in result.reasoning + result.text
    assert result.reasoning_tokens == plain.index(5) + 1, "up to and with the end mark"
    said = tokenizer(SHIPPED).decode(plain[result.reasoning_tokens :], skip_special_tokens=True)
    assert result.text.split() == said.split()


@needs_vllm
@pytest.mark.parametrize(
    "words",
    ["tensor-parallel-size x", "no-such-thing 3", "dtype float99", "tool-call-parser none-such", "model x", "port 80",
     "reasoning-parser none-such", "max-model-len 99999999", "lora-modules a=b", "served-model-name x"],
)  # fmt: skip
def test_a_wrong_argument_is_named(words: str, run: Runner) -> None:
    name, value = words.split()
    with pytest.raises(ValueError, match=name.replace("-", "[-_]")):
        run(open_engines(load(["--engine", "vllm", f"--vllm.{name}", value], environment={})))


@pytest.mark.skipif(HAS_VLLM, reason="vLLM is installed here")
def test_without_vllm_the_server_says_how_to_get_it(run: Runner) -> None:
    with pytest.raises(ValueError, match="not installed"):
        run(open_engines(load(["--engine", "vllm"], environment={})))

"""Tools through a real checkpoint: the template shows them as transformers does, and what the model writes is read."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from decoders.core.errors import InvalidRequest
from decoders.core.messages import Message, Prompt, Sampling, ToolCall
from server.engines.embedded import EmbeddedEngine
from server.engines.embedded.tokenizer import ChatTokenizer
from tests.engines.support import byte_level_tokenizer, collect, serve

TEMPLATE = """
{%- if tools %}{{ 'Tools, called as <tool_call>:\\n' }}{% for tool in tools %}{{ tool | tojson }}{% endfor %}{% endif %}
{%- for message in messages %}
{{ '[' + message.role + '] ' }}{{ message.content }}
{%- for call in message.tool_calls or [] %}{{ call.function.name }}({{ call.function.arguments | tojson }}){% endfor %}
{% endfor %}
{%- if add_generation_prompt %}[assistant] {% endif %}"""
BLOCK = ["<tool_call>", '{"name": "add", ', '"arguments": {"a": 1}}', "</tool_call>"]
TOOLS = [{"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}]
ASKED = Prompt((Message("user", "1 + 1?"),), tools=json.dumps(TOOLS))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that writes `Well <tool_call>…</tool_call>` after any prompt: each token determines the next."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    made = tmp_path_factory.mktemp("tools")
    words = byte_level_tokenizer()
    words.add_tokens(["[assistant] ", "Well ", *BLOCK])
    words.chat_template = TEMPLATE
    chain = [words.convert_tokens_to_ids(token) for token in ("[assistant] ", "Well ", *BLOCK)] + [words.eos_token_id]
    config = AutoConfig.for_model(
        "qwen2",
        vocab_size=len(words),
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=512,
        tie_word_embeddings=False,
        bos_token_id=words.bos_token_id,
        eos_token_id=[words.eos_token_id],
        pad_token_id=None,
    )
    auto: Any = AutoModelForCausalLM
    net = auto.from_config(config)
    with torch.no_grad():
        for weight in (
            net.model.embed_tokens.weight,
            net.lm_head.weight,
            net.model.layers[0].self_attn.o_proj.weight,
            net.model.layers[0].mlp.down_proj.weight,
        ):
            weight.zero_()
        for place, (token, following) in enumerate(pairwise(chain)):
            net.model.embed_tokens.weight[token, place] = 1.0
            net.lm_head.weight[following, place] = 10.0
    net.save_pretrained(made)
    words.save_pretrained(made)
    return made


def test_the_template_gets_what_transformers_gives_it(folder: Path) -> None:
    from transformers import PreTrainedTokenizerFast

    chat = (
        Message("user", "1 + 1?"),
        Message("assistant", "", tool_calls=(ToolCall("c", "add", '{"ü": [1]}'), ToolCall("d", "add", "not JSON"))),
        Message("tool", "2", tool_call_id="c"),
    )
    messages = [message.wire() for message in chat]
    messages[1]["tool_calls"][0]["function"]["arguments"] = {"ü": [1]}
    theirs = PreTrainedTokenizerFast.from_pretrained(folder)
    for tools in (TOOLS, None):
        shown = theirs.apply_chat_template(messages, tools=tools, tokenize=False, add_generation_prompt=True)
        ours = ChatTokenizer(folder).render(Prompt(chat, tools=json.dumps(tools) if tools else ""))
        assert ours == shown
        assert 'add({"ü": [1]})' in ours


@pytest.mark.parametrize("backend", ["onnx", "torch"])
def test_what_the_model_writes_is_a_tool_call_where_there_are_tools(folder: Path, backend: str) -> None:
    async def use(engine: EmbeddedEngine) -> None:
        assert "tools" in engine.features
        sampling = Sampling(20, temperature=0.0, n=2, seed=1)
        for found in await collect(engine, ASKED, sampling):
            assert (found.text, found.finish) == ("Well", "tool_calls")
            assert [(c.name, c.arguments) for c in found.chunks[-1].tool_calls] == [("add", '{"a": 1}')]
            assert len(found.ids) == 6
        for found in await collect(engine, Prompt(ASKED.messages), sampling):
            assert (found.text, found.finish) == ("Well " + "".join(BLOCK), "stop")
        (cut,) = await collect(engine, ASKED, Sampling(3, temperature=0.0))
        assert (cut.text, cut.finish, cut.chunks[-1].tool_calls) == ("Well " + "".join(BLOCK[:2]), "length", ())

    serve(folder, use, backend=backend)


def test_what_it_cannot_do_is_refused_by_name(folder: Path, unicode_folder: Path) -> None:
    async def refused(engine: EmbeddedEngine, prompt: Prompt, **sampling: Any) -> str | None:
        with pytest.raises(InvalidRequest) as caught:
            await collect(engine, prompt, Sampling(5, **sampling))
        return caught.value.param

    async def use(engine: EmbeddedEngine) -> None:
        forced = Prompt(ASKED.messages, tools=ASKED.tools, tool_choice='"required"')
        assert await refused(engine, forced) == "tool_choice"
        assert await refused(engine, Prompt(ASKED.messages), structure='{"type": "json_object"}') == "structure"

    async def without(engine: EmbeddedEngine) -> None:
        assert "tools" not in engine.features
        assert await refused(engine, ASKED) == "tools"

    serve(folder, use)
    serve(unicode_folder, without)

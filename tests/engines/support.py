"""Runs engines in tests and makes small random checkpoints."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from decoders.core.engine import Chunk
from decoders.core.messages import Prompt, Sampling
from server.engines.embedded import EmbeddedEngine

T = TypeVar("T")

CORPUS = [
    "the answer is 42, naïve café — 你好世界 😀 héllo wörld",
    "let us think step by step: 1 + 1 = 2\n",
    "ありがとう",
] * 4
TEMPLATE = (
    "{%- if messages[0].role == 'assistant' %}{{ raise_exception('a user must begin') }}{% endif %}\n"
    "{% for message in messages %}\n    {{- bos_token + message.role + '\\n' + message.content | trim + eos_token }}\n"
    "{% endfor %}\n{% if add_generation_prompt %}{{ bos_token }}assistant\n<think>\n{% endif %}"
)


@dataclass
class Result:
    """One completion, put together from its chunks."""

    text: str = ""
    ids: list[int] = field(default_factory=list)
    finish: str | None = None
    prompt_tokens: int = 0
    cached: int = 0
    chunks: list[Chunk] = field(default_factory=list)


async def collect(engine: EmbeddedEngine, prompt: Prompt | list[int], sampling: Sampling) -> list[Result]:
    results = [Result() for _ in range(sampling.n)]
    prompt = prompt if isinstance(prompt, Prompt) else Prompt(token_ids=tuple(prompt))
    async with aclosing(engine.generate(prompt, sampling)) as chunks:
        async for chunk in chunks:
            result = results[chunk.index]
            result.text += chunk.text
            result.ids += chunk.token_ids
            result.finish = chunk.finish
            result.prompt_tokens += chunk.prompt_tokens
            result.cached += chunk.cached_tokens
            result.chunks.append(chunk)
    return results


def serve(folder: Path, use: Callable[[EmbeddedEngine], Awaitable[T]], **options: Any) -> T:
    """Run a coroutine function against a fresh engine."""

    async def run() -> T:
        engine = EmbeddedEngine(folder, **{"threads": 1, **options})
        try:
            return await use(engine)
        finally:
            await engine.aclose()

    return asyncio.run(run())


def byte_level_tokenizer() -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = ["<|start|>", "<|end|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=320, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    backend.train_from_iterator(CORPUS, trainer)
    fast: Any = PreTrainedTokenizerFast
    return fast(tokenizer_object=backend, bos_token=special[0], eos_token=special[1], chat_template=TEMPLATE)


def save(folder: Path, architecture: str, *, dtype: str = "float32", shard: str = "5GB", **changes: Any) -> Path:
    """A random checkpoint of an architecture with the byte-level tokenizer."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    words = byte_level_tokenizer()
    sizes = {
        "vocab_size": 320,
        "hidden_size": 48,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "max_position_embeddings": 512,
        "bos_token_id": words.bos_token_id,
        "eos_token_id": [words.eos_token_id],
        "pad_token_id": None,
        "initializer_range": 0.3,
    }
    torch.manual_seed(7)
    auto: Any = AutoModelForCausalLM
    net = auto.from_config(AutoConfig.for_model(architecture, **{**sizes, **changes}))
    for name, parameter in net.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter, std=0.3)
    net.to(getattr(torch, dtype)).save_pretrained(folder, max_shard_size=shard)
    words.save_pretrained(folder)
    return folder

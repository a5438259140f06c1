"""Tokens per second of the embedded engine beside `transformers.generate`. Rule: both in one run, taking turns.

    longthink bench engine [--model FOLDER] [--requests 1,8,32,128] [--rounds 3] [--threads N] [--output FILE]

Method. A load of c requests is c prompts of 64 random token ids, started together, each with 128 new tokens at
temperature 1; the end mark is ignored, so both sides generate exactly c * 128 tokens. The engine streams every token
to an asyncio reader; `generate` runs the prompts as one static batch. The prefix job is 32 requests that share 512
prompt tokens, with 16 of their own and 32 new ones. Every round gives each side one turn with fresh prompts; reported
are medians and the ratio of medians. Without `--model` a random Qwen3 of 4.75 million parameters is made.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from decoders.core.messages import Prompt, Sampling
from server.engines.embedded import EmbeddedEngine

PROMPT, NEW = 64, 128
SHARED, OWN, SHORT, SHARERS = 512, 16, 32, 32

Prompts = list[tuple[int, ...]]


@dataclass(slots=True)
class Row:
    """One line of the table: seconds per turn of each side, over the same prompts."""

    job: str
    tokens: int
    engine: list[float] = field(default_factory=list)
    other: list[float] = field(default_factory=list)
    first_token: list[float] = field(default_factory=list)
    """Mean seconds to the first token of a turn of the engine."""

    @property
    def ratio(self) -> float:
        """How many times faster the engine is."""
        return statistics.median(self.other) / statistics.median(self.engine)


async def stream(engine: EmbeddedEngine, prompts: Prompts, new: int) -> tuple[float, float]:
    """Seconds for all, and mean seconds to the first token."""
    began = time.perf_counter()

    async def one(ids: tuple[int, ...]) -> tuple[int, float]:
        count, first = 0, 0.0
        async with aclosing(engine.generate(Prompt(token_ids=ids), Sampling(new))) as chunks:
            async for chunk in chunks:
                first = first or time.perf_counter() - began
                count += len(chunk.token_ids)
        return count, first

    found = await asyncio.gather(*map(one, prompts))
    seconds = time.perf_counter() - began
    if any(count != new for count, _ in found):
        raise RuntimeError("a request did not generate all its tokens")
    return seconds, statistics.fmean(first for _, first in found)


def generator(folder: Path) -> Callable[[Prompts, int], float]:
    """`transformers.generate` as a function of prompts and new tokens that returns seconds."""
    import torch
    from transformers import AutoModelForCausalLM

    net: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)

    def run(prompts: Prompts, new: int) -> float:
        began = time.perf_counter()
        ids = torch.tensor(prompts)
        out = net.generate(
            ids, attention_mask=torch.ones_like(ids), do_sample=True, temperature=1.0, top_k=0, top_p=1.0,
            min_new_tokens=new, max_new_tokens=new, pad_token_id=0,
        )  # fmt: skip
        if out.shape[1] != ids.shape[1] + new:
            raise RuntimeError("generate stopped early")
        return time.perf_counter() - began

    return run


def random_prompts(count: int, own: int, vocabulary: int, seed: int, shared: int = 0) -> Prompts:
    """Prompts of random ids behind a common beginning."""
    import numpy as np

    draw = np.random.default_rng(seed)
    stem = draw.integers(8, vocabulary, shared).tolist()
    return [(*stem, *draw.integers(8, vocabulary, own).tolist()) for _ in range(count)]


async def measure(folder: Path, options: argparse.Namespace) -> list[Row]:
    """All rows, each round giving every side a turn."""
    vocabulary = int(json.loads((folder / "config.json").read_text())["vocab_size"])
    slots = max([SHARERS, *options.requests])
    shape: dict[str, Any] = {"slots": slots, "threads": options.threads, "ignore_eos": True, "context_length": 1024}
    engine = EmbeddedEngine(folder, **shape)
    forgetful = EmbeddedEngine(folder, prefix_reuse=False, **shape)
    generate = generator(folder)
    for warm in (engine, forgetful):
        await stream(warm, random_prompts(8, PROMPT, vocabulary, 99), 8)
    generate(random_prompts(8, PROMPT, vocabulary, 99), 8)
    loads = {count: Row(f"{count} requests", count * NEW) for count in options.requests}
    prefix = Row(f"{SHARERS} requests sharing {SHARED} tokens, against no reuse", SHARERS * SHORT)
    for turn in range(options.rounds):
        for count, row in loads.items():
            prompts = random_prompts(count, PROMPT, vocabulary, 1000 * turn + count)
            seconds, first = await stream(engine, prompts, NEW)
            row.engine.append(seconds)
            row.first_token.append(first)
            row.other.append(generate(prompts, NEW))
        prompts = random_prompts(SHARERS, OWN, vocabulary, 500 + turn, SHARED)
        seconds, first = await stream(engine, prompts, SHORT)
        prefix.engine.append(seconds)
        prefix.first_token.append(first)
        prefix.other.append((await stream(forgetful, prompts, SHORT))[0])
    for warm in (engine, forgetful):
        await warm.aclose()
    return [*loads.values(), prefix]


def table(rows: Sequence[Row]) -> str:
    """Markdown: medians, and in brackets the slowest and the fastest turn."""
    lines = [
        "| job | embedded, tokens/s | transformers (last row: no reuse), tokens/s | ratio | first token, ms |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        first = 1000 * statistics.median(row.first_token)
        lines.append(
            f"| {row.job} | {_rates(row, row.engine)} | {_rates(row, row.other)} | {row.ratio:.2f} | {first:.0f} |"
        )
    return "\n".join(lines)


def make_model(folder: Path) -> None:
    """A random Qwen3 of 4.75 million parameters with the tokenizer of the shipped model's vocabulary size."""
    import torch
    from tokenizers import Tokenizer, models
    from transformers import Qwen3Config, Qwen3ForCausalLM

    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=128, hidden_size=256, intermediate_size=768, num_hidden_layers=6, num_attention_heads=8,
        num_key_value_heads=4, head_dim=32, max_position_embeddings=2048, tie_word_embeddings=True,
        bos_token_id=None, eos_token_id=3, pad_token_id=0,
    )  # fmt: skip
    Qwen3ForCausalLM(config).save_pretrained(folder)
    Tokenizer(models.WordLevel({f"w{i}": i for i in range(128)}, unk_token="w1")).save(str(folder / "tokenizer.json"))


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="longthink bench engine", description=(__doc__ or "").split("\n")[0])
    parser.add_argument(
        "--model", type=Path, help="checkpoint folder; a random one of 4.75 million parameters if absent"
    )
    parser.add_argument("--requests", type=lambda text: [int(n) for n in text.split(",")], default=[1, 8, 32, 128])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, help="of both sides; default: each side's own choice")
    parser.add_argument("--output", type=Path, help="write every measurement as JSON")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print the table, write the file."""
    options = arguments(argv)
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.model or Path(scratch)
        if options.model is None:
            make_model(folder)
        if options.threads is not None:
            import torch

            torch.set_num_threads(options.threads)
        rows = asyncio.run(measure(folder, options))
    print(table(rows))
    if options.output is not None:
        facts = {
            "model": str(options.model or "random Qwen3, 4.75M"),
            "threads": options.threads,
            "rounds": options.rounds,
        }
        facts |= {"machine": platform.processor() or platform.machine(), "date": time.strftime("%Y-%m-%d")}
        found = [{**asdict(row), "ratio": row.ratio} for row in rows]
        options.output.write_text(json.dumps({**facts, "rows": found}, indent=2) + "\n")
    return 0


def _rates(row: Row, seconds: list[float]) -> str:
    low, high = row.tokens / max(seconds), row.tokens / min(seconds)
    return f"{row.tokens / statistics.median(seconds):,.0f} ({low:,.0f} to {high:,.0f})"


if __name__ == "__main__":
    raise SystemExit(main())

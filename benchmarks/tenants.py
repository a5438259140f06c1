"""`longthink bench tenants`: requests per second of the embedded engine while tenants alternate.

    longthink bench tenants [--model FOLDER] [--tenants 16] [--concurrency 32] [--tokens 64] [--rounds 5] [--rank 8]

Method. Every side gets the same requests: prompts of 32 random ids, 64 new tokens each at temperature 1, the end mark
ignored; the n-th request is tenant n mod T's, and `--concurrency` of them are under way. Sides: the base alone (as if
all tenants had the same weights); masks over merged weights with turns, with turns but models for half of the tenants
only, and in the order of arrival; LoRA adapters with turns, and LoRA side by side in one batch, which the torch backend
can do. The weights are random, which costs the same time as others. Rule: sides take turns in every round, and what is
compared is the median over rounds on one backend.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np

from benchmarks import cli
from benchmarks.report import provenance, publish, table
from decoders.core.messages import Prompt, Sampling
from server.engines.embedded import EmbeddedEngine
from server.engines.embedded.checkpoint import Weights, weights
from server.engines.tenants import adapters
from server.engines.tenants.ledger import Ledger
from server.engines.tenants.terms import Terms, base_digest

PROMPT = 32


@dataclass(slots=True)
class Side:
    """One way to serve, with what was measured of it by round."""

    name: str
    engine: EmbeddedEngine
    tenants: tuple[str, ...]
    requests: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    """Mean of a request."""


def make_tenants(folder: Path, base: Weights, count: int, rank: int) -> tuple[str, ...]:
    """Random tenants, merged in `merged` and as adapters in `adapters`; their names."""
    matrices = {name: tensor for name, tensor in base.items() if tensor.ndim == 2 and "embed" not in name}
    terms = Terms(base_digest(base), 1, {name: tensor.shape for name, tensor in matrices.items()})
    ledger, rng = Ledger.create(folder / "merged", terms), np.random.default_rng(0)
    names = tuple(f"tenant-{number:03}" for number in range(count))
    for tenant in names:
        drawn = {name: rng.random(tensor.shape, np.float32) * 1e-3 for name, tensor in matrices.items()}
        agreeing = {name: np.where(terms.signs(name) & (change > 5e-4), change, 0) for name, change in drawn.items()}
        ledger.add(tenant, agreeing, keep=False)
        parts = {name: _factors(rng, tensor.shape, rank) for name, tensor in matrices.items()}
        adapters.write(folder / "adapters" / tenant, parts, rank=rank, alpha=float(rank), base="random")
    return names


def _factors(rng: np.random.Generator, shape: tuple[int, ...], rank: int) -> tuple[Any, Any]:
    outputs, inputs = shape
    return rng.random((rank, inputs), np.float32) * 1e-3, rng.random((outputs, rank), np.float32) * 1e-3


def sides(model: Path, folder: Path, names: tuple[str, ...], options: argparse.Namespace) -> list[Side]:
    """All ways to serve that the backend knows."""
    base, matrices = weights(model), Ledger(folder / "merged").terms.shapes
    size = sum(base[name].nbytes for name in matrices)
    shape: Any = {"slots": options.concurrency, "threads": options.threads, "backend": options.backend}
    shape |= {"context_length": PROMPT + options.tokens, "ignore_eos": True, "tenant_bytes": size * len(names)}
    merged = {**shape, "tenants": folder / "merged"}
    half = {**merged, "tenant_bytes": size * len(names) // 2}
    lora: Mapping[str, Any] = {**shape, "tenants": folder / "adapters"}
    found = [
        Side("one model for all", EmbeddedEngine(model, **shape), ("",)),
        Side("masks, turns", EmbeddedEngine(model, **merged), names),
        Side("masks, turns, models for half of the tenants", EmbeddedEngine(model, **half), names),
        Side("masks, order of arrival", EmbeddedEngine(model, **{**merged, "tenant_turn": 0}), names),
    ]
    how = "side by side" if options.backend == "torch" else "turns"
    return [*found, Side(f"LoRA of rank {options.rank}, {how}", EmbeddedEngine(model, **lora), names)]


async def turn(side: Side, options: argparse.Namespace, seed: int) -> None:
    """All requests of a round."""
    rng, gate = np.random.default_rng(seed), asyncio.Semaphore(options.concurrency)
    prompts = [tuple(rng.integers(8, 100, PROMPT).tolist()) for _ in range(options.requests)]
    taken: list[float] = []

    async def one(number: int, ids: tuple[int, ...]) -> None:
        tenant = side.tenants[number % len(side.tenants)]
        async with gate:
            began = time.perf_counter()
            async with aclosing(
                side.engine.generate(Prompt(token_ids=ids), Sampling(options.tokens), tenant)
            ) as chunks:
                async for _ in chunks:
                    pass
            taken.append(time.perf_counter() - began)

    began = time.perf_counter()
    await asyncio.gather(*(one(number, ids) for number, ids in enumerate(prompts)))
    side.requests.append(options.requests / (time.perf_counter() - began))
    side.seconds.append(fmean(taken))


async def measure(found: Sequence[Side], options: argparse.Namespace) -> None:
    """Every round gives each side a turn, after one that does not count."""
    for number in range(-1, options.rounds):
        for side in found:
            await turn(side, options, number + 1)
            if number < 0:
                side.requests.clear()
                side.seconds.clear()
    for side in found:
        await side.engine.aclose()


def report(found: Sequence[Side]) -> str:
    """Medians, and in brackets the slowest and the fastest round."""
    rows = [
        [
            side.name,
            f"{median(side.requests):.1f} ({min(side.requests):.1f} to {max(side.requests):.1f})",
            f"{median(side.requests) / median(found[0].requests):.2f}",
            f"{median(side.seconds):.2f}",
        ]
        for side in found
    ]
    return table(["side", "requests/s", "of one model", "seconds a request"], rows)


def parser() -> argparse.ArgumentParser:
    """The options."""
    made = cli.parser("tenants", (__doc__ or "").split("\n")[0])
    made.add_argument("--model", type=Path, help="checkpoint folder; without it the shipped one")
    made.add_argument("--backend", choices=("onnx", "torch"), default="onnx", help="what computes (default: onnx)")
    made.add_argument("--tenants", type=int, default=16, help="how many alternate (default: 16)")
    made.add_argument("--concurrency", type=int, default=32, help="requests under way (default: 32)")
    made.add_argument("--requests", type=int, default=256, help="requests of a round (default: 256)")
    made.add_argument("--tokens", type=int, default=64, help="new tokens of each (default: 64)")
    made.add_argument("--rounds", type=int, default=5, help="(default: 5)")
    made.add_argument("--rank", type=int, default=8, help="of the adapters (default: 8)")
    made.add_argument("--threads", type=int, default=1, help="CPU threads (default: 1)")
    made.add_argument("--table", type=Path, metavar="FILE", help="write the table there too")
    return made


def main(argv: Sequence[str]) -> int:
    """Measure and print the table."""
    options = parser().parse_args(argv)
    model = options.model or Path(__file__).parent.parent / "server" / "checkpoints" / "longthink-tiny"
    with tempfile.TemporaryDirectory() as scratch:
        names = make_tenants(Path(scratch), weights(model), options.tenants, options.rank)
        found = sides(model, Path(scratch), names, options)
        asyncio.run(measure(found, options))
    publish(f"{report(found)}\n\n{provenance('tenants', argv)}", options.table)
    return 0

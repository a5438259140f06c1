"""`longthink bench overhead`: what the decoder layer costs. Rule: decoders and raw calls ask the same, taking turns.

Method. In every round each decoder answers the same problems, a number of requests at a time, in this process over the
engine. A pass before the rounds records every engine call: prompt, sampling, seed, and which calls had ended when it
began. The raw pass makes just these calls of the same engine with nothing around them: a call starts when those it
waited for have ended, as many requests at a time, in the same order. Seeds are the same, so tokens and lengths are too
(end marks included, and the number of tokens is shown). Every second round begins with the raw pass, and before each
pass the engine forgets its prefixes. Reported are tokens per second, the median of the rounds' ratios with their
range, and the share of prompt tokens that came from the prefix cache.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass, field
from importlib import import_module
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import cli, tasks
from benchmarks.event_loop import run
from benchmarks.report import percent, provenance, publish, table
from decoders import build
from decoders.base import Decoder
from decoders.core.budget import Budget
from decoders.core.engine import Chunk, Engine
from decoders.core.errors import LongThinkError
from decoders.core.messages import Message, Prompt, Sampling
from decoders.core.run import Run
from decoders.core.stream import batches
from decoders.core.task import Model, Task
from decoders.prompts import Pack

SHIPPED = Path(__file__).parent.parent / "server" / "checkpoints" / "longthink-tiny"
DECODERS: dict[str, dict[str, Any]] = {"rc": {"turns": 6}, "best_of_n": {"n": 8}, "self_consistency": {"n": 8}}


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """What `server.engines.vllm.start` wants to know."""

    model: str
    name: str
    vllm: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Call:
    """An engine call of a request; `after` are the numbers of those that had ended when it began."""

    prompt: Prompt
    sampling: Sampling
    after: tuple[int, ...]


class Recording:
    """An engine that notes the calls of one request on their way to another engine."""

    def __init__(self, engine: Engine) -> None:
        self.model, self.context_length, self.features = engine.model, engine.context_length, engine.features
        self.calls: list[Call] = []
        self._engine = engine
        self._ended: set[int] = set()
        self.count, self.ready, self.aclose = engine.count, engine.ready, engine.aclose

    async def generate(self, prompt: Prompt, sampling: Sampling) -> AsyncGenerator[Chunk, None]:
        """The engine's chunks."""
        number = len(self.calls)
        self.calls.append(Call(prompt, sampling, tuple(self._ended)))
        async with aclosing(self._engine.generate(prompt, sampling)) as chunks:
            async for chunk in chunks:
                yield chunk
        self._ended.add(number)


@dataclass(slots=True)
class Pass:
    """What one pass over all requests gave."""

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    """Of this process, an engine within it included."""
    tokens: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0

    @property
    def rate(self) -> float:
        """Tokens per second."""
        return self.tokens / self.seconds


@dataclass(slots=True)
class Case:
    """One decoder over all problems, its recorded calls, and its rounds."""

    decoder: Decoder
    questions: Sequence[str]
    calls: list[list[Call]] = field(default_factory=list)
    decoded: list[Pass] = field(default_factory=list)
    raw: list[Pass] = field(default_factory=list)

    @property
    def ratios(self) -> list[float]:
        """Tokens per second of the decoder over those of the raw calls, round by round."""
        return [a.rate / b.rate for a, b in zip(self.decoded, self.raw, strict=True)]


class Bench:
    """An engine under both loads."""

    def __init__(self, engine: Engine, pack: Pack, options: argparse.Namespace) -> None:
        self._engine, self._pack, self._options = engine, pack, options
        temperature = getattr(engine, "defaults", {}).get("temperature", 1.0)
        self._sampling = Sampling(options.budget, temperature=temperature)

    async def measure(self, cases: Sequence[Case]) -> None:
        """A pass that records, then the rounds."""
        for case in cases:
            recorders = [Recording(self._engine) for _ in case.questions]
            await self._decode(case, recorders)
            case.calls = [recorder.calls for recorder in recorders]
        for number in range(self._options.rounds):
            for case in cases:
                sides = (self._decoded, self._raw) if number % 2 == 0 else (self._raw, self._decoded)
                for side in sides:
                    await self._forget()
                    await side(case)

    async def _decoded(self, case: Case) -> None:
        case.decoded.append(await self._decode(case, [self._engine] * len(case.questions)))

    async def _decode(self, case: Case, engines: Sequence[Engine]) -> Pass:
        total = Pass()

        async def one(index: int) -> None:
            models = {self._engine.model: Model(engines[index], self._pack)}
            budget = Budget(self._options.budget)
            world = Run(models, self._engine.model, budget, sampling=self._sampling, seed=index)
            async with aclosing(batches(case.decoder, Task((Message("user", case.questions[index]),)), world)) as told:
                async for _ in told:
                    pass
            usage = world.trace.usage()
            total.tokens += usage.completion_tokens
            total.prompt_tokens += usage.prompt_tokens
            total.cached_tokens += usage.cached_tokens

        await self._all(one, len(case.questions), total)
        return total

    async def _raw(self, case: Case) -> None:
        total = Pass()

        async def call(wanted: Call, before: Sequence[asyncio.Task[None]]) -> None:
            for number in wanted.after:
                await before[number]
            async with aclosing(self._engine.generate(wanted.prompt, wanted.sampling)) as chunks:
                async for chunk in chunks:
                    total.tokens += chunk.size

        async def one(index: int) -> None:
            running: list[asyncio.Task[None]] = []
            for wanted in case.calls[index]:
                running.append(asyncio.create_task(call(wanted, running)))
            await asyncio.gather(*running)

        await self._all(one, len(case.questions), total)
        case.raw.append(total)

    async def _all(self, one: Callable[[int], Awaitable[None]], count: int, total: Pass) -> None:
        """Every request, so many at a time."""
        left = iter(range(count))

        async def worker() -> None:
            for index in left:
                await one(index)

        began, cpu = time.perf_counter(), time.process_time()
        await asyncio.gather(*(worker() for _ in range(self._options.concurrency)))
        total.seconds, total.cpu_seconds = time.perf_counter() - began, time.process_time() - cpu

    async def _forget(self) -> None:
        """Fill the cache with what no prompt begins with, so that no pass finds the prompts of the one before."""
        size = min(self._engine.context_length // 2, 512)
        fillers = [Prompt(token_ids=(5, 6 + i % 100, 6 + i // 100) * (size // 3)) for i in range(self._options.slots)]

        async def fill(prompt: Prompt) -> None:
            async with aclosing(self._engine.generate(prompt, Sampling(1))) as chunks:
                async for _ in chunks:
                    pass

        await asyncio.gather(*map(fill, fillers))


async def open_engine(options: argparse.Namespace, arguments: dict[str, Any]) -> Engine:
    """The engine that was asked for, ready."""
    folder = Path(options.model)
    if options.engine == "vllm":
        # By name: vLLM is imported only where it is measured.
        start = import_module("server.engines.vllm").start
        engines = await start(EngineOptions(str(folder), folder.name, arguments))
        engine: Engine = engines[folder.name]
        return engine
    embedded = import_module("server.engines.embedded").EmbeddedEngine(folder, slots=options.slots)
    await embedded.start()
    found: Engine = embedded
    return found


async def measure(options: argparse.Namespace, arguments: dict[str, Any]) -> list[Case]:
    """All cases, measured."""
    engine = await open_engine(options, arguments)
    try:
        pack = Pack.load(options.pack or getattr(engine, "pack", None) or "plain")
        problems = tasks.load("countdown").problems(options.level, "dev", options.requests)
        questions = [problem.question for problem in problems]
        chosen = options.decoder or list(DECODERS)
        given = cli.options(options.set)
        if given and len(chosen) > 1:
            raise ValueError("--set needs the one --decoder whose options it sets")
        cases = [Case(build(name, {**DECODERS.get(name, {}), **given}, pack), questions) for name in chosen]
        await Bench(engine, pack, options).measure(cases)
    finally:
        await engine.aclose()
    return cases


def parser() -> argparse.ArgumentParser:
    """The options."""
    made = cli.parser("overhead", __doc__)
    made.add_argument("--engine", choices=("embedded", "vllm"), default="embedded", help="default: embedded")
    made.add_argument("--model", default=str(SHIPPED), help="checkpoint folder (default: the shipped one)")
    made.add_argument("--pack", help="template pack (default: the checkpoint's own, or plain)")
    made.add_argument("--vllm", action="append", default=[], metavar="NAME=VALUE", help="an engine argument of vLLM")
    made.add_argument("--slots", type=int, default=256, help="of the embedded engine (default: 256)")
    made.add_argument("--decoder", action="append", help="default: rc, best_of_n and self_consistency")
    cli.add_options(made)
    made.add_argument("--level", default="hard", help="of Countdown (default: hard)")
    made.add_argument("--budget", type=int, default=8192, help="tokens of a request at most (default: 8192)")
    made.add_argument("--requests", type=int, default=96, help="of a pass (default: 96)")
    made.add_argument("--concurrency", type=int, default=32, help="requests at a time (default: 32)")
    made.add_argument("--rounds", type=int, default=5, help="default: 5")
    made.add_argument("--table", type=Path, help="Markdown file")
    made.add_argument("--output", type=Path, help="JSON file")
    return made


def report(cases: Sequence[Case]) -> str:
    """The table."""
    header = [
        "decoder",
        "tokens/s",
        "raw calls",
        "ratio, median (range)",
        "CPU, µs/token",
        "raw calls",
        "tokens",
        "cached",
    ]
    rows = []
    for case in cases:
        rates = [[made.rate for made in side] for side in (case.decoded, case.raw)]
        shares = [made.cached_tokens / max(made.prompt_tokens, 1) for made in case.decoded]
        cpu = [median(1e6 * made.cpu_seconds / made.tokens for made in side) for side in (case.decoded, case.raw)]
        tokens = sorted({made.tokens for side in (case.decoded, case.raw) for made in side})
        rows.append(
            [
                case.decoder.name,
                *(f"{median(side):,.0f}" for side in rates),
                f"{median(case.ratios):.3f} ({min(case.ratios):.3f} to {max(case.ratios):.3f})",
                *(f"{value:.1f}" for value in cpu),
                f"{tokens[0]:,}" if len(tokens) == 1 else f"{tokens[0]:,} to {tokens[-1]:,}",
                percent(median(shares)),
            ]
        )
    return table(header, rows)


def as_json(cases: Sequence[Case], about: str) -> str:
    """Every pass."""

    def fields(case: Case) -> dict[str, Any]:
        decoder = {"name": case.decoder.name, **case.decoder.model_dump()}
        sides = {"decoded": list(map(asdict, case.decoded)), "raw": list(map(asdict, case.raw))}
        return {"decoder": decoder, "ratios": case.ratios, **sides}

    return json.dumps({"about": about, "cases": [fields(case) for case in cases]}, indent=1)


def main(argv: Sequence[str]) -> int:
    """Measure and report."""
    options = parser().parse_args(argv)
    found: list[Case] = []

    async def all_cases() -> None:
        found.extend(await measure(options, dict(cli.options(options.vllm))))

    try:
        run(all_cases())
    except (ValueError, OSError, LongThinkError) as error:
        print(f"longthink bench overhead: {error}", file=sys.stderr)
        return 2
    about = provenance("overhead", argv)
    publish(f"{report(found)}\n\n{about}", options.table)
    if options.output:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(as_json(found, about) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

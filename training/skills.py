"""`python -m training.skills`: each skill of a Countdown checkpoint by itself, on held-out problems.

Rule: no problem is from the training split, and what the model says is judged by the rules, not by the teacher.
"""

from __future__ import annotations

import argparse
import asyncio
import random
from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks.tasks.countdown import Problem, problems, steps
from decoders.core.messages import Message, Prompt, Sampling
from decoders.core.thinking import split
from decoders.prompts import Pack
from server.engines.embedded import EmbeddedEngine
from training.teachers import countdown as teacher

SPLITS = ("dev", "test")


class Probe:
    """A checkpoint and the held-out problems it is asked about."""

    def __init__(self, engine: EmbeddedEngine, found: list[Problem], seed: int) -> None:
        self._engine = engine
        self._pack = Pack.load("tiny")
        self._problems = found
        self._rng = random.Random(seed)

    async def check(self) -> dict[str, float]:
        """Claims, half of them right: how often the verdict is right, and how often each kind is accepted."""
        claims, truths = [], []
        for problem in self._problems:
            claim = self._rng.choice(teacher.solutions(problem))[1]
            if self._rng.random() < 0.5:
                claim = teacher.corrupt(problem, claim, self._rng)
            claims.append(" ".join(teacher.say_all(claim)))
            truths.append(problem.check(claims[-1]))
        said = await self._ask("verify", 30, [{"answer": claim} for claim in claims])
        verdicts = [self._pack.accepts(text) for text in said]
        return {
            "verdict right": _share(v == t for v, t in zip(verdicts, truths, strict=True)),
            "right claims accepted": _share(v for v, t in zip(verdicts, truths, strict=True) if t),
            "wrong claims accepted": _share(v for v, t in zip(verdicts, truths, strict=True) if not t),
        }

    async def hint(self) -> dict[str, float]:
        """Own hints: allowed steps, and first steps of a solution; what a random first step would be, beside it."""
        said = await self._ask("abstract", 12, [{} for _ in self._problems])
        allowed, useful, chance = [], [], []
        for problem, text in zip(self._problems, said, strict=True):
            hints = {" ".join(["start", "with", *teacher.say(s)]) for s in steps(problem.numbers) if s.result}
            good = {" ".join(["start", "with", *teacher.say(path[0])]) for _, path in teacher.solutions(problem)}
            allowed.append(text.strip() in hints)
            useful.append(text.strip() in good)
            chance.append(len(good) / len(hints))
        return {"hint allowed": _share(allowed), "hint useful": _share(useful), "random hint useful": _share(chance)}

    async def solve(self) -> dict[str, float]:
        """One turn of 120 tokens without a hint, and with the first step of a solution as a hint."""
        paths = [self._rng.choice(teacher.solutions(problem))[1] for problem in self._problems]
        hints = [{"abstraction": " ".join(["start", "with", *teacher.say(path[0])])} for path in paths]
        bare = await self._ask("solve", 120, [{} for _ in self._problems])
        helped = await self._ask("solve_with_abstraction", 120, hints)
        return {"solved in one turn": self._solved(bare), "solved with a right hint": self._solved(helped)}

    async def _ask(self, name: str, tokens: int, values: Sequence[dict[str, str]]) -> list[str]:
        temperature = float(self._engine.defaults.get("temperature", 1.0))

        async def one(number: int) -> str:
            messages = self._pack.render(name, self._problems[number].question, **values[number])
            return await self._text(messages, Sampling(tokens, temperature=temperature, seed=number))

        return await asyncio.gather(*(one(i) for i in range(len(self._problems))))

    async def _text(self, messages: tuple[Message, ...], sampling: Sampling) -> str:
        return "".join([chunk.text async for chunk in self._engine.generate(Prompt(messages), sampling)])

    def _solved(self, said: list[str]) -> float:
        return _share(p.check(split(text)[1]) for p, text in zip(self._problems, said, strict=True))


def _share(values: Iterable[float]) -> float:
    numbers = list(values)
    return sum(numbers) / len(numbers)


def main(argv: Sequence[str] | None = None) -> int:
    """Print a Markdown table of all skills."""
    parser = argparse.ArgumentParser(prog="python -m training.skills", description=__doc__)
    parser.add_argument("--model", type=Path, required=True, help="folder of the checkpoint")
    parser.add_argument("--level", default="hard")
    parser.add_argument("--split", default="test", choices=SPLITS)
    parser.add_argument("--problems", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(argv)
    found = problems(options.level, options.split, options.problems)

    async def measure() -> dict[str, float]:
        engine = EmbeddedEngine(options.model)
        try:
            probe = Probe(engine, found, options.seed)
            return await probe.check() | await probe.hint() | await probe.solve()
        finally:
            await engine.aclose()

    print(f"| skill ({len(found)} {options.level} {options.split} problems) | share |\n|---|---:|")
    for skill, share in asyncio.run(measure()).items():
        print(f"| {skill} | {share:.1%} |")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

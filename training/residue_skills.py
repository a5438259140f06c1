"""`python -m training.residue_skills`: how sure the checks of a residues checkpoint are, and how soon it gives up.

Rule: problems are held out, and each word of a chain is judged by arithmetic, not by the teacher.
"""

from __future__ import annotations

import argparse
import asyncio
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from benchmarks.tasks.residues import LEVELS, Problem, pool, problems
from decoders.core.messages import Prompt, Sampling
from decoders.core.thinking import split
from decoders.prompts import Pack
from server.engines.embedded import EmbeddedEngine

SPLITS = ("dev", "test")
SHARES = {
    "repeated": "attempts",
    "fitting": "attempts",
    "remainders right": "checks",
    "verdicts right": "checks",
    "false finds": "found",
}
"""What is told as a share, and of what."""


def audit(problem: Problem, text: str) -> Counter[str]:
    """Counts of one chain: its attempts and checks, how many are right, and how it ends."""
    thought, answer = split(text)
    found: Counter[str] = Counter(tokens=len(text.split()))
    tried: set[str] = set()
    number, told = "", list[str]()
    for part in thought.split("try")[1:]:
        number, *told = part.split() or [""]
        found["attempts"] += 1
        found["repeated"] += number in tried
        tried.add(number)
        found["fitting"] += told[2:3] == ["ok"]
        for (modulus, remainder), *check in zip(problem.congruences, told[::3], told[1::3], told[2::3], strict=False):
            true = int(number) % modulus if number.isdigit() else None
            found["checks"] += 1
            found["remainders right"] += check[:2] == [str(modulus), str(true)]
            found["verdicts right"] += check[2] == ("ok" if check[1] == str(remainder) else "no")
    claimed = told[-1:] == ["yes"]
    found["found"] += claimed
    found["false finds"] += claimed and not problem.check(number)
    found["gave up"] += bool(answer.strip()) and not claimed
    found["right"] += problem.check(answer)
    return found


async def chains(model: Path, asked: Sequence[Problem], tokens: int) -> list[str]:
    """One chain for each problem, with the checkpoint's own temperature."""
    engine, pack = EmbeddedEngine(model), Pack.load("residues")
    temperature = float(engine.defaults.get("temperature", 1.0))

    async def one(number: int) -> str:
        prompt = Prompt(pack.render("solve", asked[number].question))
        sampling = Sampling(tokens, temperature=temperature, seed=number)
        return "".join([chunk.text async for chunk in engine.generate(prompt, sampling)])

    try:
        return await asyncio.gather(*(one(number) for number in range(len(asked))))
    finally:
        await engine.aclose()


def main(argv: Sequence[str] | None = None) -> int:
    """Print a Markdown table of all levels."""
    parser = argparse.ArgumentParser(prog="python -m training.residue_skills", description=__doc__)
    parser.add_argument("--model", type=Path, required=True, help="folder of the checkpoint")
    parser.add_argument("--tokens", type=int, default=512, help="of a chain at most")
    parser.add_argument("--split", default="test", choices=SPLITS)
    parser.add_argument("--problems", type=int, default=300, help="of each level at most")
    options = parser.parse_args(argv)
    heads = ["level", "right", "tokens", "attempts", *SHARES, "gave up"]
    print(f"| {' | '.join(heads)} |")
    print(f"|---|{'---:|' * (len(heads) - 1)}")
    for level in LEVELS:
        found = problems(level, options.split, min(options.problems, len(pool(level, options.split))))
        texts = asyncio.run(chains(options.model, found, options.tokens))
        sums = sum((audit(p, text) for p, text in zip(found, texts, strict=True)), Counter[str]())
        print(row(level, sums, len(found)))
    return 0


def row(level: str, sums: Counter[str], chains: int) -> str:
    """A line of the table: means by chain, shares of attempts, checks, finds and chains."""
    means = [f"{sums[name] / chains:.1f}" for name in ("tokens", "attempts")]
    parts = [f"{sums[name] / max(sums[whole], 1):.2%}" for name, whole in SHARES.items()]
    ends = [f"{sums[name] / chains:.1%}" for name in ("right", "gave up")]
    return f"| {' | '.join([level, ends[0], *means, *parts, ends[1]])} |"


if __name__ == "__main__":
    raise SystemExit(main())

"""`python -m training.bench`: what a step costs with samples from one engine or another, as ratios in one run.

One trainer, one policy: the engines take turns, each with the same problems, so that a busy machine hits all alike.
A step is new weights for the engine, sampling, and the update.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PrinterCallback

from benchmarks.tasks import Problem
from decoders.core.messages import Sampling
from decoders.core.task import Model
from decoders.prompts import Pack
from server.engines.embedded.checkpoint import Checkpoint
from training.collect import collect
from training.engines import PolicyEngine, start
from training.play import POLICY, Play
from training.recipes.grpo import Config, Grpo
from training.rows import Row
from training.settings import SHIPPED
from training.trainer import RowTrainer


class Rounds(Grpo):
    """As many steps as there are engines on the same problems."""

    def __init__(self, config: Config, engines: int) -> None:
        super().__init__(config)
        self._engines = engines
        self._drawn: Sequence[Problem] = ()

    def problems(self, step: int) -> Sequence[Problem]:
        """New ones at the first step of a round."""
        if step % self._engines == 0:
            self._drawn = super().problems(step)
        return self._drawn


class Race:
    """The engines in turn, and when each of them began."""

    def __init__(self, configs: Sequence[Config]) -> None:
        config = configs[0]
        torch.set_num_threads(config.threads)
        net: Any = AutoModelForCausalLM.from_pretrained(config.model, dtype=torch.float32)
        self.engines: list[PolicyEngine] = [start(each, net, POLICY) for each in configs]
        self.recipe = Rounds(config, len(configs))
        self.pack = Pack.load(Checkpoint.read(config.model).pack or "plain")
        words = AutoTokenizer.from_pretrained(config.model)
        self.trainer = RowTrainer(config, net, words, self.collect)
        self.trainer.remove_callback(PrinterCallback)
        self.begun: list[float] = []
        self.sampled: list[float] = []
        self.tokens: list[int] = []

    async def collect(self, step: int) -> list[Row]:
        """The rows of a step by the engine whose turn it is."""
        engine = self.engines[step % len(self.engines)]
        self.trainer.exact = engine.exact
        self.begun.append(time.perf_counter())
        await engine.renew()
        sampling = Sampling(1, logprobs=None if engine.exact else 0)
        rows = await collect(
            self.recipe, Play(dict.fromkeys(self.recipe.cast(), Model(engine, self.pack)), sampling, step, 0)
        )
        self.sampled.append(time.perf_counter() - self.begun[-1])
        self.tokens.append(sum(len(row.completion) for row in rows))
        return rows

    def run(self) -> None:
        """All steps."""
        try:
            self.trainer.train()
            self.begun.append(time.perf_counter())
        finally:
            for engine in self.engines:
                self.trainer.wait(engine.aclose())
            self.trainer.close()

    def table(self, names: Sequence[str]) -> list[str]:
        """Medians without the first round, in which engines start."""
        count = len(names)
        steps = [after - before for before, after in zip(self.begun, self.begun[1:], strict=False)]
        lines = ["| engine | step s | sampling s | tokens a step | steps/s against the first |", "|---|" + "---:|" * 4]
        base = median(steps[count::count])
        for i, name in enumerate(names):
            step, sampling, tokens = (median(x[count + i :: count]) for x in (steps, self.sampled, self.tokens))
            lines.append(f"| {name} | {step:.2f} | {sampling:.2f} | {tokens:.0f} | {base / step:.2f} |")
        return lines


def main(argv: Sequence[str] | None = None) -> int:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(prog="python -m training.bench", description=__doc__)
    parser.add_argument("--model", type=Path, default=SHIPPED)
    parser.add_argument(
        "--engines", nargs="+", default=["inline", "vllm"], help="the first is what others compare with"
    )
    parser.add_argument("--options", type=json.loads, default={}, help="engine_options by engine, as JSON")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--group", type=int, default=8)
    parser.add_argument("--max-tokens", type=int, default=160)
    parser.add_argument("--level", default="medium")
    chosen = parser.parse_args(argv)
    with TemporaryDirectory() as folder:
        common = {
            "output": folder,
            "model": chosen.model,
            "steps": (chosen.rounds + 1) * len(chosen.engines),
            "batch": chosen.batch,
            "group": chosen.group,
            "max_tokens": chosen.max_tokens,
            "levels": [chosen.level],
            "save_every": 10**6,
        }
        configs = [
            Config.model_validate({**common, "engine": name, "engine_options": chosen.options.get(name, {})})
            for name in chosen.engines
        ]
        race = Race(configs)
        race.run()
    print("\n".join(race.table(chosen.engines)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

"""`longthink train overhead`: what the core costs beside a loop written by hand on the same batch.

Method. Rows of the shipped model's own answers to Countdown are sampled once. Then rounds of `--steps` optimiser steps
on these rows: by `RowTrainer`, and by a loop of forty lines that pads, takes the log-probabilities, the policy
gradient and an AdamW step, and does nothing else. The two take turns; every second round begins with the loop. Both cut
the batch into the same micro-batches. Start-up is outside the clock. Reported are seconds and CPU seconds a step, and
the median of the rounds' ratios with their range.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback

from benchmarks.report import table
from benchmarks.tasks import countdown
from decoders.core.messages import Sampling
from decoders.core.task import Model
from decoders.prompts import Pack
from training.batches import Shape, divide, tensors
from training.engines.inline import InlineEngine
from training.play import POLICY, Play
from training.recipes.grpo import Config, Grpo
from training.rows import Row
from training.trainer import RowTrainer

Timed = tuple[float, float]
"""Wall and CPU seconds."""


def parser() -> argparse.ArgumentParser:
    """The options."""
    made = argparse.ArgumentParser(prog="longthink train overhead", description=__doc__, allow_abbrev=False)
    made.add_argument("--rows", type=int, default=64, help="rows of a batch (default: 64)")
    made.add_argument("--tokens", type=int, default=120, help="tokens of a row at most (default: 120)")
    made.add_argument("--parts", type=int, default=4, help="micro-batches (default: 4)")
    made.add_argument("--steps", type=int, default=5, help="optimiser steps of a round (default: 5)")
    made.add_argument("--rounds", type=int, default=7, help="rounds of each (default: 7)")
    return made


def main(argv: Sequence[str]) -> int:
    """Measure and print."""
    options = parser().parse_args(argv)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        config = Config(
            output=Path(folder),
            steps=options.steps,
            batch=max(options.rows // 8, 1),
            parts=options.parts,
            device="cpu",
            max_tokens=options.tokens,
            save_every=10**6,
        )
        rows = asyncio.run(_sample(config))
        rounds = [_round(config, rows, first=turn % 2) for turn in range(options.rounds)]
    steps = options.steps
    lines = [
        [name, f"{median(r[i][0] for r in rounds) / steps:.3f}", f"{median(r[i][1] for r in rounds) / steps:.3f}"]
        for i, name in enumerate(("by hand", "RowTrainer"))
    ]
    ratios = sorted(core[1] / hand[1] for hand, core in rounds)
    size = sum(len(row.prompt) + len(row.completion) for row in rows)
    print(f"{len(rows)} rows, {size} tokens, {options.parts} micro-batches, {options.rounds} rounds of {steps} steps\n")
    print(table(["", "seconds a step", "CPU seconds a step"], lines))
    print(f"\nCPU of RowTrainer to that by hand: {median(ratios):.3f} ({ratios[0]:.3f} to {ratios[-1]:.3f})")
    return 0


async def _sample(config: Config) -> list[Row]:
    model: Any = AutoModelForCausalLM.from_pretrained(config.model, dtype=torch.float32)
    engine = InlineEngine(config.model, model, model=POLICY)
    play = Play({POLICY: Model(engine, Pack.load("tiny"))}, Sampling(max_tokens=1, temperature=1.0), 0, config.seed)
    problems = countdown.problems("medium", "train", config.batch)
    found = await asyncio.gather(*(Grpo(config).episode(p, play.within(str(i))) for i, p in enumerate(problems)))
    return [row for rows in found for row in rows]


def _round(config: Config, rows: Sequence[Row], first: int) -> tuple[Timed, Timed]:
    """The loop's time and the trainer's."""
    loops: list[Callable[[Config, Sequence[Row]], Timed]] = [_by_hand, _by_trainer]
    times = {loop: loop(config, rows) for loop in (reversed(loops) if first else loops)}
    return times[_by_hand], times[_by_trainer]


def _by_trainer(config: Config, rows: Sequence[Row]) -> Timed:
    async def collect(step: int) -> Sequence[Row]:
        return rows

    model: Any = AutoModelForCausalLM.from_pretrained(config.model, dtype=torch.float32)
    clock = _Clock()
    words = AutoTokenizer.from_pretrained(config.model)
    trainer = RowTrainer(config, model, words, collect, callbacks=[clock])
    trainer.train()
    trainer.close()
    return clock.ended[0] - clock.started[0], clock.ended[1] - clock.started[1]


class _Clock(TrainerCallback):
    """From before the first step to after the last."""

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self.started = _now()

    def on_train_end(self, *_: Any, **__: Any) -> None:
        self.ended = _now()


def _by_hand(config: Config, rows: Sequence[Row]) -> Timed:
    model: Any = AutoModelForCausalLM.from_pretrained(config.model, dtype=torch.float32)
    optimizer = torch.optim.AdamW(model.parameters(), config.learning_rate, weight_decay=config.weight_decay)
    total = sum(len(row.completion) for row in rows)
    started = _now()
    for _ in range(config.steps):
        for part in divide(rows, Shape(1, config.parts, frozenset({0}), 0), ""):
            batch = tensors(part, 0)
            ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], 1)
            mask = torch.cat([batch["prompt_mask"], batch["completion_mask"]], 1)
            keep = batch["completion_ids"].size(1)
            logits = model(input_ids=ids, attention_mask=mask, logits_to_keep=keep + 1, use_cache=False).logits[:, :-1]
            logps = logits.log_softmax(-1).gather(2, batch["completion_ids"][:, :, None])[:, :, 0]
            ratio = torch.exp(logps - logps.detach())
            torch.autograd.backward(-(ratio * batch["advantages"] * batch["tool_mask"]).sum() / total)
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm)
        optimizer.step()
        optimizer.zero_grad()
    ended = _now()
    return ended[0] - started[0], ended[1] - started[1]


def _now() -> Timed:
    return time.perf_counter(), time.process_time()

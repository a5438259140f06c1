"""Runs a recipe: the policy samples, the recipe says what that is worth, the trainer learns it, and so on.

Rule: a run that was killed and started again ends with the same weights, bit for bit, as one that was not.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, PrinterCallback, TrainerCallback
from transformers.utils import logging as transformers_logging

from decoders.core.messages import Sampling
from decoders.core.task import Model
from decoders.environments.catalogue import Catalogue
from decoders.prompts import Pack
from server.engines.embedded.checkpoint import Checkpoint
from training import record
from training.collect import collect, told
from training.engines import start
from training.engines.weights import gathered
from training.evaluate import evaluate
from training.partner import Partner
from training.play import POLICY, Play
from training.policy import load
from training.progress import Bar
from training.recipe import Recipe
from training.remote import remote
from training.rows import Row
from training.settings import Reinforcement
from training.trainer import RowTrainer


class Session(TrainerCallback):
    """One run: what the trainer asks and what it has to tell."""

    def __init__(self, recipe: Recipe[Any], config: Reinforcement) -> None:
        torch.set_num_threads(config.threads)
        torch.manual_seed(config.seed)
        self.recipe, self.config = recipe, config
        checkpoint = Checkpoint.read(config.model)
        self.model: Any = load(config)
        words = AutoTokenizer.from_pretrained(config.model)
        self.engine = start(config, self.model, POLICY)
        cast = recipe.cast()
        self.partners = {name: Partner(config, name, self.model) for name in cast.values() if name != POLICY}
        engines = {POLICY: self.engine} | {name: partner.engine for name, partner in self.partners.items()}
        self.engines, pack = tuple(engines.values()), Pack.load(checkpoint.pack or "plain")
        self.models: Mapping[str, Model] = {role: Model(engines[name], pack) for role, name in cast.items()}
        self.environments = Catalogue(config.environments)
        defaults: Mapping[str, Any] = checkpoint.defaults
        self.served = Sampling(max_tokens=1, **defaults)
        self.trainer = RowTrainer(config, self.model, words, self.collect, exact=self.engine.exact, callbacks=[self])
        self.trainer.remove_callback(PrinterCallback)  # the bar and metrics.jsonl say it
        if self.engine.exact and (self.trainer.is_fsdp_enabled or self.trainer.is_deepspeed_enabled):
            raise ValueError("engine inline samples from whole weights: with FSDP or DeepSpeed use vllm-server")
        self.rank = self.trainer.accelerator.process_index
        if self.rank:
            recipe.rng.seed(f"{recipe.name}/{config.seed}/{self.rank}")
        self.last: dict[str, Any] = {}

    def run(self) -> Path:
        """Train from the start or from where an earlier run ended, and write the model."""
        folder, ranks = self.config.output / "checkpoints", self.trainer.accelerator.num_processes
        found = record.last_checkpoint(folder, ranks)
        resumed = 0
        if found is not None:
            record.load_state(self.recipe, found, self.rank)
            resumed = int(found.name.rpartition("-")[2]) // self.config.updates
        if self.rank == 0:
            self.metrics = record.Lines(self.config.output / "metrics.jsonl", resumed)
            self.measured = record.Lines(self.config.output / "evaluations.jsonl", resumed)
        self.started = time.monotonic(), time.process_time()
        self.bar = Bar(self.recipe.name, self.config.steps, resumed)
        try:
            for partner in self.partners.values():
                partner.begin(None if found is None else found.name)
            self.trainer.train(resume_from_checkpoint=None if found is None else str(found))
        finally:
            self.bar.close()
            for partner in self.partners.values():
                partner.end()
            self.trainer.wait(self.environments.aclose())
            for engine in self.engines:
                self.trainer.wait(engine.aclose())
            self.trainer.close()
        for partner in self.partners.values():
            partner.save(self.rank == 0)
        state = gathered(self.model)  # by all processes, for each may have a part
        if self.rank == 0:
            record.finish(self.recipe, self.model, state, self.last, record.results(self.config.output))
        return self.config.output

    async def collect(self, step: int) -> list[Row]:
        """The rows of a step: every episode of the batch side by side."""
        await self._renew()
        logprobs = None if self.engine.exact else 0
        sampling = Sampling(temperature=self.config.temperature, max_tokens=1, logprobs=logprobs)
        seed = self.config.seed * 1000 + self.rank
        play = Play(self.models, sampling, step, seed, environments=self.environments)
        rows = await collect(self.recipe, play)
        for name, value in told(self.recipe, rows, play).items():
            self.trainer.note(name, value)
        for name, partner in self.partners.items():
            partner.learn([row for row in rows if row.policy == name])
        return [row for row in rows if row.policy == POLICY]

    async def _renew(self) -> None:
        for engine in self.engines:
            await engine.renew()

    def measure(self) -> None:
        """All evaluations at this step, by the main process; the others take part in handing over the weights."""
        for wanted in self.config.evaluations:
            self.trainer.wait(self._renew())
            if self.rank:
                continue
            work = evaluate(wanted, self.models, self.served, self.trainer.step, self.environments)
            result = self.trainer.wait(work)
            self.measured.add(record.as_line(result))
            self.bar.say(f"step {result.step:>5}  {result.name:<24} {100 * result.accuracy:5.1f} %")

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        """Measure what training starts from."""
        if self.trainer.step == 0 and self.config.evaluate_start:
            self.measure()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """Measure from time to time, and at the end."""
        config, done = self.config, self.trainer.state.global_step
        step, inside = divmod(done, config.updates)
        due = step == config.steps or (config.evaluate_every and step % config.evaluate_every == 0)
        if not inside and due:
            self.measure()

    def on_save(self, *_: Any, **__: Any) -> None:
        """The recipe's memory belongs to the checkpoint."""
        place = self.config.output / "checkpoints" / f"checkpoint-{self.trainer.state.global_step}"
        record.save_state(self.recipe, place, self.rank)

    def on_log(self, *_: Any, logs: Mapping[str, Any] | None = None, **__: Any) -> None:
        """A line of metrics for each step; seconds count from this start of the program."""
        if self.rank != 0 or not logs or "loss" not in logs:
            return
        wall, cpu = self.started
        used = {"seconds": round(time.monotonic() - wall, 2), "cpu_seconds": round(time.process_time() - cpu, 2)}
        told = {name: _rounded(value) for name, value in logs.items() if name != "epoch"}  # there are none
        self.last = {"step": self.trainer.step, **told, **used}
        self.metrics.add(self.last)
        self.bar.step(self.last)


def _rounded(value: Any) -> Any:
    return float(f"{value:.6g}") if isinstance(value, float) else value


def reinforce(recipe_class: type[Recipe[Any]], config: Reinforcement) -> Path:
    """Train, write the checkpoint, and return its folder."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    if config.engine == "tinker":
        return remote(recipe_class(config), config)
    return Session(recipe_class(config), config).run()

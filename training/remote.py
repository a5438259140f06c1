"""The loop for a policy that lives behind the Tinker API: the recipe runs here, sampling and learning there.

loss = -Σ_t min(ρ_t A_t, clip(ρ_t) A_t), ρ_t the ratio to the sampler's own probabilities: `ppo` in the API's terms.
Rule: recipes, decoders, metrics and files are those of `reinforce`.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import httpx
import torch
from transformers import AutoModelForCausalLM

from decoders.core.messages import Sampling
from decoders.core.task import Model
from decoders.environments.catalogue import Catalogue
from decoders.prompts import Pack
from server.engines.embedded.checkpoint import Checkpoint
from training import record
from training.adapters import merge
from training.batches import Shape, chosen, divide
from training.collect import collect, told
from training.engines.tinker import Options, TinkerPolicy, data, refuse
from training.evaluate import evaluate
from training.play import POLICY, Play
from training.progress import Bar
from training.recipe import Recipe
from training.rows import Row
from training.settings import Reinforcement

PATH = "tinker.json"
"""In each checkpoint: where the service keeps its state."""


class Remote:
    """One run."""

    def __init__(self, recipe: Recipe[Any], config: Reinforcement) -> None:
        refuse(config)
        self.recipe, self.config = recipe, config
        self.options = Options.model_validate(config.engine_options)
        self.engine = TinkerPolicy(config, self.options, model=POLICY)
        checkpoint = Checkpoint.read(config.model)
        if set(recipe.cast().values()) != {POLICY}:
            raise ValueError("engine tinker trains a single policy")
        served = Model(self.engine, Pack.load(checkpoint.pack or "plain"))
        self.models: Mapping[str, Model] = dict.fromkeys(recipe.cast(), served)
        self.environments = Catalogue(config.environments)
        self.served = Sampling(1, **checkpoint.defaults)  # type: ignore[arg-type]
        self.shape = Shape(config.updates, 1, self.engine.ends, 0)
        self.checkpoints = config.output / "checkpoints"
        self.last: dict[str, Any] = {}

    async def run(self) -> Path:
        """Train from the start or from the last checkpoint, and write the model."""
        config = self.config
        await self.engine.open()
        done = await self._resume()
        self.metrics = record.Lines(config.output / "metrics.jsonl", done)
        self.measured = record.Lines(config.output / "evaluations.jsonl", done)
        self.bar = Bar(self.recipe.name, config.steps, done)
        try:
            await self._steps(done)
        finally:
            self.bar.close()
        await self._finish()
        await self.environments.aclose()
        await self.engine.aclose()
        return config.output

    async def _steps(self, done: int) -> None:
        config, started = self.config, time.monotonic()
        if not done and config.evaluate_start:
            await self._measure(0)
        for step in range(done, config.steps):
            await self.engine.renew()
            play = self._play(step)
            rows = await collect(self.recipe, play)
            self.last = {"step": step + 1, **told(self.recipe, rows, play), **await self._learn(rows, step)}
            self.last["seconds"] = round(time.monotonic() - started, 2)
            self.metrics.add(self.last)
            self.bar.step(self.last)
            if (step + 1) % config.save_every == 0 or step + 1 == config.steps:
                await self._save(step + 1)
            if step + 1 == config.steps or (config.evaluate_every and (step + 1) % config.evaluate_every == 0):
                await self._measure(step + 1)

    def _play(self, step: int) -> Play:
        config, sampling = self.config, Sampling(1, temperature=self.config.temperature)
        return Play(self.models, sampling, step, config.seed * 1000, environments=self.environments)

    async def _learn(self, rows: Sequence[Row], step: int) -> dict[str, float]:
        """The optimiser steps of one batch; a gradient and the step that uses it are asked for together."""
        config, loss = self.config, self.config.loss
        sdk = import_module("tinker")
        clips = {"clip_low_threshold": 1 - loss.clip_low, "clip_high_threshold": 1 + loss.clip_high}
        kept = chosen(rows, loss, self.engine.ends)
        pieces = divide(kept, self.shape, f"{config.seed}/{step}/0")
        for update, piece in enumerate(pieces):
            if piece == [self.shape.idle]:
                continue
            batch = data(piece, loss, self.options, config.max_length)
            adam = sdk.AdamParams(
                learning_rate=self._rate(step * config.updates + update),
                beta2=0.999,
                eps=1e-8,
                weight_decay=config.weight_decay,
                grad_clip_norm=config.clip_norm,
            )
            gradient = await self.engine.trainer.forward_backward_async(batch, "ppo", clips)
            stepped = await self.engine.trainer.optim_step_async(adam)
            await gradient.result_async()
            await stepped.result_async()
        return {"rows": float(len(rows)), "trained_tokens": float(sum(row.trained for row in kept))}

    def _rate(self, update: int) -> float:
        warmup = self.config.warmup * self.config.updates
        return self.config.learning_rate * (min(1.0, update / warmup) if warmup else 1.0)

    async def _measure(self, step: int) -> None:
        await self.engine.renew()
        for wanted in self.config.evaluations:
            result = await evaluate(wanted, self.models, self.served, step, self.environments)
            self.measured.add(record.as_line(result))
            self.bar.say(f"step {step:>5}  {result.name:<24} {100 * result.accuracy:5.1f} %")

    async def _save(self, step: int) -> None:
        place = self.checkpoints / f"checkpoint-{step}"
        place.mkdir(parents=True, exist_ok=True)
        saved = await self.engine.trainer.save_state_async(f"step-{step}")
        (place / PATH).write_text(json.dumps({"path": (await saved.result_async()).path}))
        record.save_state(self.recipe, place, 0)

    async def _resume(self) -> int:
        found = record.last_checkpoint(self.checkpoints, 1)
        if found is None:
            return 0
        record.load_state(self.recipe, found, 0)
        path = json.loads((found / PATH).read_text())["path"]
        await (await self.engine.trainer.load_state_with_optimizer_async(path)).result_async()
        return int(found.name.rpartition("-")[2])

    async def _finish(self) -> None:
        """Write the model with the adapter merged into it."""
        saved = await (await self.engine.trainer.save_weights_for_sampler_async("final")).result_async()
        model: Any = AutoModelForCausalLM.from_pretrained(self.config.model, dtype=torch.float32)
        merge(model, await self._fetch(saved.path))
        record.finish(self.recipe, model, model.state_dict(), self.last, record.results(self.config.output))

    async def _fetch(self, path: str) -> bytes:
        """The archive of an adapter. The SDK reads the hosted service's paths only, SkyRL's are shorter."""
        run, _, name = path.removeprefix("tinker://").partition("/")
        told = await self.engine.service.create_rest_client().get_checkpoint_archive_url_async(run, name)
        async with httpx.AsyncClient(follow_redirects=True, timeout=600) as client:
            return (await client.get(told.url)).raise_for_status().content


def remote(recipe: Recipe[Any], config: Reinforcement) -> Path:
    """Train behind the Tinker API, write the model, and return its folder."""
    return asyncio.run(Remote(recipe, config).run())

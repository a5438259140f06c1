"""Training with a different number of rows in each process, for `accelerate launch -m tests.training.uneven FOLDER`."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from transformers import AutoModelForCausalLM, AutoTokenizer

from benchmarks.tasks import Problem
from training.engines.weights import weights
from training.play import Play
from training.recipes.grpo import Config, Grpo
from training.reinforce import Session
from training.rows import Row
from training.settings import Loss, Reinforcement
from training.trainer import RowTrainer

MEANS = ("token", "sequence", "constant")


class Uneven(Grpo):
    """Drops some rows by chance, which differs between processes, and rewards the rest by chance."""

    made = 0

    async def episode(self, problem: Problem, play: Play) -> Sequence[Row]:
        rows = [row for row in await super().episode(problem, play) if self.rng.random() < 0.6]
        self.made += len(rows)
        return [replace(row, advantage=self.rng.choice((-1.0, 1.0))) for row in rows]


def settings(folder: Path, **changes: Any) -> Config:
    """Two short steps on the CPU."""
    some = {"device": "cpu", "steps": 2, "batch": 2, "group": 4, "max_tokens": 24, "warmup": 0, "parts": 2}
    return Config.model_validate({"output": folder, **some, **changes})


def rows() -> list[Row]:
    """Eight rows, each of another length."""
    return [Row((2, 67, 3 + i), tuple(range(10, 12 + i)), advantage=(-1.0) ** i * (1 + i / 4)) for i in range(8)]


def trained(config: Reinforcement, share: slice) -> dict[str, torch.Tensor]:
    """The weights after steps on this process's share of the rows, and the norm of the last gradient."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_pretrained(config.model, dtype=torch.float32)

    async def collect(step: int) -> list[Row]:
        return rows()[share]

    trainer = RowTrainer(config, model, AutoTokenizer.from_pretrained(config.model), collect)
    trainer.train()
    trainer.close()
    norms = [line["grad_norm"] for line in trainer.state.log_history if "grad_norm" in line]
    return {**dict(weights(model)), "gradient": torch.tensor(norms[-1:])}


def digested(model: Any) -> str:
    """A fingerprint of all weights."""
    digest = hashlib.sha256()
    for name, tensor in weights(model):
        digest.update(name.encode() + tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()


def main(folder: Path) -> None:
    """Run the recipe, then train on given rows; tell what this process has."""
    config = settings(folder / "run", save_every=1)
    recipe = Uneven(config)
    session = Session(recipe, config)
    session.run()
    processes = session.trainer.accelerator.num_processes
    told = {"weights": digested(session.model), "rows": recipe.made, "processes": processes}
    sharded = fully_shard(deepcopy(session.model), mesh=init_device_mesh("cpu", (processes,)))
    shards = sum(parameter.to_local().numel() for parameter in sharded.parameters())
    told |= {"shards": shards, "gathered": digested(sharded)}
    (folder / f"rank-{session.rank}.json").write_text(json.dumps(told))
    for mean in MEANS:
        shared = settings(folder / mean, steps=1, loss=Loss(mean=mean))
        done = trained(shared, slice(5, None) if session.rank else slice(5))
        if session.rank == 0:
            save_file(done, folder / f"{mean}.safetensors")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""TRL's GRPOTrainer over rows: any number of them, any mask, an advantage for each token.

loss = -Σ_t min(ρ_t A_t, clip(ρ_t, 1 - low, 1 + high) A_t) + β KL - η H over trained tokens, ρ_t the ratio to the policy
that sampled. Optimiser, accumulation, mixed precision, clipping, reference model, checkpoints and every kind of
parallelism are TRL's and accelerate's. Rule: what of TRL's inside is relied on stands in this file, and tests hold it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import fields
from typing import Any

import torch
from datasets import Dataset
from trl.trainer.grpo_config import GRPOConfig
from trl.trainer.grpo_trainer import GRPOTrainer

from training.batches import Shape, Tensors, chosen, divide, moving, tensors
from training.rows import Row
from training.settings import Loss, Reinforcement

LOSSES = {"token": "dapo", "sequence": "grpo", "constant": "dr_grpo"}
"""TRL's names for `Loss.mean`."""

Collect = Callable[[int], Coroutine[Any, Any, Sequence[Row]]]
"""The rows of a step; 0 is the first."""


class RowTrainer(GRPOTrainer):
    """Asks `collect` for the rows of each step and makes `config.updates` optimiser steps of them.

    `exact` says that rows were sampled by the very computation that is trained; otherwise the advantage of a token is
    scaled by the ratio of both probabilities, at most `RATIO`, where the sampler told its own.
    """

    RATIO = 2.0

    def __init__(
        self, config: Reinforcement, model: Any, words: Any, collect: Collect, *, exact: bool = True, **options: Any
    ) -> None:
        self._config, self._collect, self.exact = config, collect, exact
        self._runner = asyncio.Runner()
        self._pieces: list[Tensors] = []
        super().__init__(
            model,
            reward_funcs=_unused,
            args=_arguments(config),
            train_dataset=Dataset.from_dict({"prompt": [""]}),
            processing_class=words,
            **options,
        )
        if config.loss.kl_estimator == "k1":
            self.beta = 0.0  # TRL's own term; the reference model stays, for the advantages
        self._shape = Shape(config.updates, config.parts, _ends(model, words), words.pad_token_id)

    @property
    def step(self) -> int:
        """Batches of rows that were trained on."""
        return int(self.state.global_step) // self._config.updates

    def wait(self, work: Coroutine[Any, Any, Any]) -> Any:
        """The result of a coroutine, in the event loop that the engine lives in."""
        return self._runner.run(work)

    def close(self) -> None:
        """Close the event loop; the trainer takes no further step."""
        self._runner.close()

    def note(self, name: str, value: float) -> None:
        """Add to the metrics of this step."""
        self._metrics["train"][name].append(value)

    def _get_train_sampler(self, dataset: Any = None) -> Any:
        # The data set is one empty row, drawn until the last step: a single epoch, so that a run that resumes is in no
        # other order than one that never ended. The recipe draws the problems.
        arguments: Any = self.args
        rows = self._train_batch_size * arguments.steps_per_generation * arguments.world_size
        return [0] * (arguments.max_steps * arguments.gradient_accumulation_steps * rows)

    def _prepare_inputs(self, generation_batch: Any) -> Tensors:
        place = self._step % self._shape.pieces
        if place == 0 or not self._pieces:
            self._pieces = self._batch(self.wait(self._collect(self.step)))
        return self._pieces[place]

    def _batch(self, rows: Sequence[Row]) -> list[Tensors]:
        loss, shape = self._config.loss, self._shape
        rows = chosen(rows, loss, shape.ends)
        moved = moving(rows, loss)
        divided = self._even(divide(moved, shape, f"{self._config.seed}/{self.step}/{self.accelerator.process_index}"))
        pieces = [tensors(piece, shape.padding) for piece in divided]
        pieces = [{k: v.to(self.accelerator.device) for k, v in piece.items()} for piece in pieces]
        count, tokens = self._totals(len(rows), sum(row.trained for row in rows))
        self.note("rows", float(count))
        self.note("moving", len(moved) / max(len(rows), 1))
        self.note("trained_tokens", float(tokens))
        share = shape.pieces * self.accelerator.num_processes / max(float(count), 1.0)
        for piece, part in zip(pieces, divided, strict=True):
            self._weigh(piece, loss, len(part) * share)
            piece["num_items_in_batch"] = tokens
        return pieces

    def _totals(self, *numbers: int) -> torch.Tensor:
        """Sums over all processes."""
        own = torch.tensor([numbers], device=self.accelerator.device)
        found: torch.Tensor = self.accelerator.gather(own).sum(0)
        return found

    def _even(self, pieces: list[list[Row]]) -> list[list[Row]]:
        """As many rows in each process: TRL gathers metrics row by row."""
        sizes = torch.tensor([[len(piece) for piece in pieces]], device=self.accelerator.device)
        most = self.accelerator.gather(sizes).amax(0).tolist()
        return [piece + [self._shape.idle] * (size - len(piece)) for piece, size in zip(pieces, most, strict=True)]

    @torch.no_grad()
    def _weigh(self, piece: Tensors, loss: Loss, share: float) -> None:
        """Complete a micro-batch with the log-probabilities that its loss needs, and turn them into weights."""
        sampled = piece.pop("sampled_logps")
        if loss.mean != "token":
            piece["advantages"] = piece["advantages"] * share  # TRL takes micro-batches for equal in rows
        corrected = (
            not self.exact
        )  # even if no row tells: with shards every process must compute as often as the others
        if self._shape.updates > 1 or corrected or (loss.kl and loss.kl_estimator == "k1"):
            own = self._logps(self.model, piece)
            if self._shape.updates > 1:
                piece["old_per_token_logps"] = own
            if corrected:
                piece["advantages"] = piece["advantages"] * self._ratio(own - sampled, piece["tool_mask"])
        if loss.kl:
            reference = self._logps(self.ref_model, piece)
            if loss.kl_estimator == "k1":
                piece["advantages"] = piece["advantages"] - loss.kl * (own - reference) * piece["tool_mask"]
            else:
                piece["ref_per_token_logps"] = reference

    def _ratio(self, difference: torch.Tensor, trained: torch.Tensor) -> torch.Tensor:
        """How much likelier the trainer finds each token than the sampler did, 1 where the sampler did not tell."""
        told = trained.bool() & ~difference.isnan()
        if told.any():
            self.note("sampler/gap", difference[told].abs().mean().item())
            self.note("sampler/ratio_max", difference[told].exp().max().item())
        return difference.nan_to_num(0.0).exp().clamp(max=self.RATIO)

    def _logps(self, model: Any, piece: Tensors) -> torch.Tensor:
        ids = torch.cat([piece["prompt_ids"], piece["completion_ids"]], 1)
        mask = torch.cat([piece["prompt_mask"], piece["completion_mask"]], 1)
        found: torch.Tensor
        found, _, _ = self._get_per_token_logps_and_entropies(model, ids, mask, piece["completion_ids"].size(1))
        return found


def _ends(model: Any, words: Any) -> frozenset[int]:
    """The ids that end a completion."""
    ids = model.generation_config.eos_token_id
    return frozenset([ids] if isinstance(ids, int) else ids or [words.eos_token_id])


def _unused(prompts: Sequence[str], **_: Any) -> list[float | None]:
    """TRL wants a reward function; rows bring their advantages."""
    return [0.0] * len(prompts)


def _arguments(config: Reinforcement) -> GRPOConfig:
    loss = config.loss
    # renamed in transformers 5.24, where the old name warns
    names = {field.name for field in fields(GRPOConfig)}
    saves_memory = "activation_checkpointing" if "activation_checkpointing" in names else "gradient_checkpointing"
    others: dict[str, Any] = {saves_memory: config.save_memory}
    return GRPOConfig(
        output_dir=str(config.output / "checkpoints"),
        max_steps=config.steps * config.updates,
        per_device_train_batch_size=2,
        num_generations=2,
        steps_per_generation=config.updates * config.parts,
        gradient_accumulation_steps=config.parts,
        max_completion_length=config.max_length,
        learning_rate=config.learning_rate,
        lr_scheduler_type="constant_with_warmup",
        warmup_steps=config.warmup * config.updates,
        weight_decay=config.weight_decay,
        max_grad_norm=config.clip_norm,
        temperature=config.temperature,
        loss_type=LOSSES[loss.mean],
        epsilon=loss.clip_low,
        epsilon_high=loss.clip_high,
        delta=loss.dual_clip,
        beta=loss.kl,
        use_bias_correction_kl=loss.kl_estimator == "unbiased",
        entropy_coef=loss.entropy,
        seed=config.seed,
        save_steps=config.save_every * config.updates,
        save_total_limit=2,
        logging_steps=config.updates,
        report_to=list(config.trackers),
        disable_tqdm=True,
        ignore_data_skip=True,
        use_cpu=config.device == "cpu",
        bf16=config.device != "cpu" and torch.cuda.is_available(),
        dataloader_pin_memory=False,
        remove_unused_columns=False,
        shuffle_dataset=False,
        **others,
    )

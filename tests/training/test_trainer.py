"""What of TRL's inside the trainer relies on: its gradients against the formula, written out by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import exp
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from training.rows import Row
from training.settings import Loss, Reinforcement
from training.trainer import RowTrainer

ROWS = (
    Row((5, 9, 11), (12, 40, 13, 3), 1.3),
    Row((5, 9), (14, 3), -0.7),
    Row((6, 20, 21, 22, 23), (30, 31, 32, 33, 34, 35), -0.4),
    Row((5,), (50, 51, 52, 3), 0.9, mask=(1, 0, 0, 1)),
    Row((7, 8), (60, 61, 62), (0.5, -1.0, 2.0)),
)


def settings(folder: Path, output: Path, **changes: Any) -> Reinforcement:
    return Reinforcement(model=folder, output=output, steps=1, parts=1, clip_norm=1e9, device="cpu").model_copy(
        update=changes
    )


def gradients(
    config: Reinforcement, rows: Sequence[Row], *, exact: bool = True, shift: float = 0.0
) -> dict[str, torch.Tensor]:
    """What the trainer would give the optimiser for these rows; `shift` moves the policy after it has sampled."""

    async def collect(step: int) -> Sequence[Row]:
        return rows

    model: Any = AutoModelForCausalLM.from_pretrained(config.model, dtype=torch.float32)
    words = AutoTokenizer.from_pretrained(config.model)
    trainer = RowTrainer(config, model, words, collect, exact=exact)
    trainer.current_gradient_accumulation_steps = config.parts
    model.train()
    trainer._prepare_inputs(None)
    if shift:
        move(model, shift)
    trainer.close()
    torch.stack([trainer._compute_loss(model, piece) for piece in trainer._pieces]).sum().backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def move(model: Any, shift: float) -> None:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(shift * torch.sin(torch.arange(parameter.numel()).float()).reshape(parameter.shape))


def by_hand(
    config: Reinforcement, rows: Sequence[Row], *, shift: float = 0.0, kind: str = "ppo"
) -> dict[str, torch.Tensor]:
    """The same with a loop over rows and tokens."""
    old: Any = AutoModelForCausalLM.from_pretrained(config.model, dtype=torch.float32)
    model: Any = AutoModelForCausalLM.from_pretrained(config.model, dtype=torch.float32)
    if shift:
        move(model, shift)
    loss, terms = config.loss, []
    entropies: list[torch.Tensor] = []
    for row in rows:
        now, spread = logprobs(model, row)
        with torch.no_grad():
            before, _ = logprobs(old, row)
        own = []
        for t, mask in enumerate(row.mask or [1] * len(row.completion)):
            if not mask:
                continue
            advantage = row.advantage[t] if isinstance(row.advantage, tuple) else row.advantage
            ratio = torch.exp(now[t] - before[t])
            if kind == "cross entropy":
                own.append(-now[t])
                continue
            clipped = ratio.clamp(1 - loss.clip_low, 1 + loss.clip_high)
            if loss.dual_clip:
                ratio = ratio.clamp(max=loss.dual_clip)
            term = -torch.minimum(ratio * advantage, clipped * advantage)
            if loss.kl:
                difference = before[t] - now[t]
                weight = torch.exp(now[t] - before[t]) if loss.kl_estimator == "unbiased" else 1.0
                term = term + loss.kl * weight * (torch.exp(difference) - difference - 1)
            own.append(term)
            entropies.append(spread[t])
        terms.append(torch.stack(own) if own else torch.zeros(0))
    if loss.mean == "token":
        total = torch.cat(terms).mean()
    elif loss.mean == "sequence":
        total = torch.stack([term.mean() for term in terms]).mean()
    else:
        total = torch.cat(terms).sum() / (len(rows) * config.max_length)
    if loss.entropy:
        total = total - loss.entropy * torch.stack(entropies).mean()
    total.backward()  # type: ignore[no-untyped-call]
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def logprobs(model: Any, row: Row) -> tuple[torch.Tensor, torch.Tensor]:
    logits = model(input_ids=torch.tensor([row.prompt + row.completion])).logits[0, len(row.prompt) - 1 : -1]
    log = logits.log_softmax(-1)
    return log[torch.arange(len(row.completion)), torch.tensor(row.completion)], -(log.exp() * log).sum(-1)


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    size = max(float(gradient.abs().max()) for gradient in other.values())
    assert size > 1e-3
    for name, gradient in one.items():
        assert torch.allclose(gradient, other[name], atol=2e-6 * max(size, 1), rtol=0), name


@pytest.mark.parametrize("mean", ["token", "sequence", "constant"])
@pytest.mark.parametrize("parts", [1, 3])
def test_the_gradient_is_the_formulas(small: Path, tmp_path: Path, mean: Any, parts: int) -> None:
    config = settings(small, tmp_path, loss=Loss(mean=mean), parts=parts, max_length=20)
    same(gradients(config, ROWS), by_hand(config, ROWS))


@pytest.mark.parametrize(
    "loss",
    [
        Loss(clip_low=0.01, clip_high=0.02),
        Loss(clip_low=0.01, clip_high=0.02, dual_clip=1.03),
        Loss(clip_low=9, clip_high=9, kl=0.3),
        Loss(clip_low=9, clip_high=9, kl=0.3, kl_estimator="unbiased"),
    ],
)
def test_clips_and_divergence_once_the_policy_has_moved(small: Path, tmp_path: Path, loss: Loss) -> None:
    """Two updates of one batch: the second has left the policy that sampled. Both together are the formula, twice."""
    config = settings(small, tmp_path, loss=loss, updates=2)
    halves = {name: gradient / 2 for name, gradient in gradients(config, ROWS, shift=0.03).items()}
    same(halves, by_hand(config, ROWS, shift=0.03))
    unclipped = by_hand(settings(small, tmp_path, loss=Loss(clip_low=9, clip_high=9)), ROWS, shift=0.03)
    with pytest.raises(AssertionError):
        same(halves, unclipped)


def test_the_entropy_bonus(small: Path, tmp_path: Path) -> None:
    config = settings(small, tmp_path, loss=Loss(entropy=0.2))
    same(gradients(config, ROWS), by_hand(config, ROWS))


def test_what_another_engine_sampled_is_weighed_by_the_ratio(small: Path, tmp_path: Path) -> None:
    config = settings(small, tmp_path)
    model: Any = AutoModelForCausalLM.from_pretrained(small, dtype=torch.float32)
    with torch.no_grad():
        own = tuple(logprobs(model, ROWS[0])[0].tolist())
    offsets = (0.0, 0.3, -0.2, -5.0)
    told = replace(ROWS[0], logprobs=tuple(p + offset for p, offset in zip(own, offsets, strict=True)))
    weights = [min(exp(-offset), RowTrainer.RATIO) for offset in offsets]
    weighed = replace(ROWS[0], advantage=tuple(1.3 * weight for weight in weights))
    same(gradients(config, [told], exact=False), gradients(config, [weighed]))
    same(gradients(config, [told]), gradients(config, [ROWS[0]]))


def test_divergence_taken_off_the_advantage(small: Path, tmp_path: Path) -> None:
    config = settings(small, tmp_path, loss=Loss(kl=0.5, kl_estimator="k1"))
    same(gradients(config, ROWS), by_hand(settings(small, tmp_path), ROWS))  # the start has no divergence yet


def test_a_prefix_is_context_wherever_it_stands(small: Path, tmp_path: Path) -> None:
    config = settings(small, tmp_path)
    asked = [Row((5, 9, 11, 12, 40), (13, 3), 1.3)]
    begun = [Row((5, 9, 11), (12, 40, 13, 3), 1.3, mask=(0, 0, 1, 1))]
    same(gradients(config, asked), gradients(config, begun))


def test_the_advantage_one_is_imitation(small: Path, tmp_path: Path) -> None:
    config = settings(small, tmp_path)
    rows = [replace(row, advantage=1.0) for row in ROWS]
    same(gradients(config, rows), by_hand(config, rows, kind="cross entropy"))


@pytest.mark.parametrize("mean", ["token", "sequence", "constant"])
def test_rows_that_are_not_computed_still_count(small: Path, tmp_path: Path, mean: Any) -> None:
    rows = (*ROWS, Row((5, 9), (14, 40, 3), 0.0), Row((5,), (15, 3), (0.0, 0.0)))
    config = settings(small, tmp_path, loss=Loss(mean=mean), parts=2, max_length=20)
    same(gradients(config, rows), by_hand(config, rows))

"""One tenant's fine-tuning: from the base, by Adam, projected after every step.

    θ ← Adam(θ);  τ ← θ - θ₀;  θ ← θ₀ + τ · 1{τ v > 0}

Projected after the step, not between gradient and step: what the last step does must agree with the mask too. Rule: the
change is a function of base, data, settings and seed, so a tenant whose change was not kept can be trained again and
taken out. On one machine, that is: another kernel rounds otherwise, and the ledger's digest notices.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from decoders.core.messages import Message
from server.engines.tenants.sums import Floats
from server.engines.tenants.terms import Terms
from training.sift.data import Tenant
from training.sift.trained import Change, Lora, Trained

Rows = Sequence[tuple[Message, ...]]


class Tuning(BaseModel):
    """How every tenant is fine-tuned."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    steps: int = Field(default=20, ge=1)
    """Optimiser steps of a tenant."""
    batch: int = Field(default=20, ge=1)
    """Conversations in a step."""
    learning_rate: float = Field(default=1e-4, gt=0)
    """Of Adam, constant."""


@dataclass(frozen=True, slots=True)
class Tuned:
    """What was trained, a tenant's change τ by the names of `Terms.shapes`, and what it cost."""

    changes: Mapping[str, Floats]
    seconds: float
    flops: float
    """6 for each trained token and parameter of the model, forward and backward."""


class Encoded:
    """Conversations as ids [rows, length], padded, and which of the tokens are the last reply's."""

    def __init__(self, tokenizer: Any, rows: Rows) -> None:
        pairs = [_encode(tokenizer, row) for row in rows]
        length = max(len(ids) for ids, _ in pairs)
        self.ids = torch.tensor([ids + [0] * (length - len(ids)) for ids, _ in pairs])
        places = torch.arange(length)
        begins = torch.tensor([begin for _, begin in pairs])[:, None]
        ends = torch.tensor([len(ids) for ids, _ in pairs])[:, None]
        self.replies = (places >= begins) & (places < ends)
        self.real = places < ends


def _encode(tokenizer: Any, row: tuple[Message, ...]) -> tuple[list[int], int]:
    messages = [{"role": message.role, "content": message.content} for message in row]
    ids = list(tokenizer.apply_chat_template(messages, return_dict=False))
    asked = tokenizer.apply_chat_template(messages[:-1], add_generation_prompt=True, return_dict=False)
    return ids, len(asked)


class Tuner:
    """A base model to fine-tune from, again and again; its weights are the base's between calls."""

    def __init__(self, net: Any, tokenizer: Any, settings: Tuning) -> None:
        self.net, self.tokenizer, self.settings = net, tokenizer, settings
        self._weights = dict(net.named_parameters())
        self.base = {name: weight.detach().clone() for name, weight in self._weights.items()}
        self.size = sum(weight.numel() for weight in self._weights.values())

    def numpy(self) -> dict[str, Floats]:
        """The base, by the names that checkpoints have."""
        return {name: weight.float().numpy() for name, weight in self.base.items()}

    def tune(self, tenant: Tenant, terms: Terms, seed: int, *, project: bool = True) -> Tuned:
        """Fine-tune; without `project` any sign may change, as fine-tuning usually does."""
        signs = {name: torch.from_numpy(np.where(terms.signs(name), 1.0, -1.0)) for name in terms.shapes}

        def agree(trained: Trained) -> None:
            for name, change in trained.tensors.items():
                change.masked_fill_(change * signs[name] <= 0, 0.0)

        change = Change(self._weights, self.base, terms)
        return self._descend(tenant, change, seed, agree if project else None)

    def adapt(self, tenant: Tenant, terms: Terms, seed: int) -> Tuned:
        """Fine-tune a LoRA of the terms' rank that shares nothing with other tenants, parts `NAME/A` and `NAME/B`."""
        lora = Lora(self._weights, self.base, terms, _number(f"{seed}/{tenant.name}/A") >> 1)
        return self._descend(tenant, lora, seed, None)

    def _descend(self, tenant: Tenant, trained: Trained, seed: int, after: Callable[[Trained], None] | None) -> Tuned:
        began, data, settings = time.perf_counter(), Encoded(self.tokenizer, tenant.train), self.settings
        optimizer = torch.optim.Adam(list(trained.tensors.values()), settings.learning_rate)
        order = np.random.Generator(np.random.Philox(_number(f"{seed}/{tenant.name}")))
        tokens = 0
        for _ in range(settings.steps):
            rows = torch.from_numpy(order.integers(len(data.ids), size=settings.batch))
            trained.lay()
            self._backward(data, rows)
            trained.collect()
            optimizer.step()
            tokens += int(data.real[rows].sum())
            if after is not None:
                after(trained)
        made = {name: tensor.numpy().copy() for name, tensor in trained.tensors.items()}
        self.set({})
        return Tuned(made, time.perf_counter() - began, 6.0 * tokens * self.size)

    @torch.no_grad()
    def set(self, weights: Mapping[str, NDArray[np.float32]]) -> None:
        """Give the model these weights and the base's for all others."""
        for name, weight in self._weights.items():
            weight.copy_(torch.from_numpy(weights[name]) if name in weights else self.base[name])
            weight.grad = None

    @torch.no_grad()
    def accuracy(self, rows: Rows) -> float:
        """The share of replies that greedy decoding would give to the last token."""
        data = Encoded(self.tokenizer, rows)
        best = self.net(input_ids=data.ids[:, :-1], attention_mask=data.real[:, :-1].long()).logits.argmax(-1)
        # every token of the reply is the likeliest after those before: exactly then greedy decoding writes it
        right = (best == data.ids[:, 1:]) | ~data.replies[:, 1:]
        return float(right.all(1).float().mean())

    def recipe(self, tenant: Tenant, terms: Terms, seed: int) -> str:
        """Digest of everything that makes a contribution what it is."""
        versions = {"torch": torch.__version__, "numpy": np.__version__, "threads": torch.get_num_threads()}
        told = [versions, self.settings.model_dump(mode="json"), seed, tenant.name, tenant.digest, terms.base]
        return hashlib.sha256(json.dumps([*told, terms.seed, terms.rank, terms.alpha]).encode()).hexdigest()

    def _backward(self, data: Encoded, rows: torch.Tensor) -> None:
        ids, replies, real = data.ids[rows], data.replies[rows], data.real[rows]
        logits = self.net(input_ids=ids[:, :-1], attention_mask=real[:, :-1].long(), use_cache=False).logits
        losses = F.cross_entropy(logits.transpose(1, 2), ids[:, 1:], reduction="none")
        weights = replies[:, 1:].float()
        torch.autograd.backward((losses * weights).sum() / weights.sum())


def largest(changes: Mapping[str, Floats], share: float) -> dict[str, Floats]:
    """Of each tensor the share of entries that have changed the most; the others are as the base has them.

    Ours. It is done to a tenant's change alone, before any other is known, so deletion stays as exact.
    """
    if share >= 1:
        return dict(changes)
    made = {}
    for name, change in changes.items():
        size = np.abs(change).ravel()
        least = np.partition(size, -max(round(share * size.size), 1))[-max(round(share * size.size), 1)]
        made[name] = np.where(np.abs(change) >= least, change, np.float32(0))
    return made


def trainable(net: Any, rank: int = 0) -> dict[str, tuple[int, ...]]:
    """Shapes of what is trained: all weights but embeddings and the head, or with a rank B of each linear layer."""
    heads = {id(net.get_input_embeddings().weight), id(net.get_output_embeddings().weight)}
    found = {n: tuple(p.shape) for n, p in net.named_parameters() if id(p) not in heads and "embed" not in n}
    return found if not rank else {n: (shape[0], rank) for n, shape in found.items() if len(shape) == 2}


def _number(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")

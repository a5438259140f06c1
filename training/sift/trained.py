"""What is trained of a model, apart from its weights, which are laid anew from it before every step.

Rule: what is trained begins where the model is the base, so that a change is a change of the base.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch

from server.engines.tenants.terms import Terms

Weights = Mapping[str, torch.nn.Parameter]
Base = Mapping[str, torch.Tensor]


class Trained(ABC):
    """`tensors` are what the optimiser moves, `laid` the names of the weights that depend on them."""

    def __init__(self, weights: Weights, base: Base, laid: Mapping[str, object]) -> None:
        self._weights, self._base = {name: weights[name] for name in laid}, base
        self.tensors: dict[str, torch.Tensor] = {}
        for name, weight in weights.items():
            weight.requires_grad_(name in laid)

    @torch.no_grad()
    def lay(self) -> None:
        """Give the model the changed weights."""
        for name, weight in self._weights.items():
            weight.copy_(self._base[name] + self._change(name))

    @torch.no_grad()
    def collect(self) -> None:
        """Take the gradients from the model."""
        for name, weight in self._weights.items():
            assert weight.grad is not None
            self._pass_on(name, weight.grad)
            weight.grad = None

    @abstractmethod
    def _change(self, name: str) -> torch.Tensor:
        """ΔW of a weight."""

    @abstractmethod
    def _pass_on(self, name: str, gradient: torch.Tensor) -> None:
        """From ∂/∂W to the gradients of what is trained."""


class Change(Trained):
    """τ itself; or B of ΔW = (α / r) B A, where the terms have a rank."""

    def __init__(self, weights: Weights, base: Base, terms: Terms) -> None:
        super().__init__(weights, base, terms.shapes)
        self.tensors = {name: torch.zeros(shape) for name, shape in terms.shapes.items()}
        self._scale = terms.alpha / terms.rank if terms.rank else 1.0
        drawn = {n: terms.projection(n, base[n].shape[-1]) for n in terms.shapes} if terms.rank else {}
        self._projections = {name: torch.from_numpy(a) for name, a in drawn.items()}

    def _change(self, name: str) -> torch.Tensor:
        change, a = self.tensors[name], self._projections.get(name)
        return change if a is None else self._scale * change @ a

    def _pass_on(self, name: str, gradient: torch.Tensor) -> None:
        a = self._projections.get(name)
        self.tensors[name].grad = gradient if a is None else self._scale * gradient @ a.T


class Lora(Trained):
    """A and B of ΔW = (α / r) B A, the usual LoRA: A random, B zero in the beginning."""

    def __init__(self, weights: Weights, base: Base, terms: Terms, seed: int) -> None:
        super().__init__(weights, base, terms.shapes)
        self._scale = terms.alpha / terms.rank
        random = torch.Generator().manual_seed(seed)
        for name, (outputs, rank) in terms.shapes.items():
            inputs = base[name].shape[-1]
            drawn = torch.rand(rank, inputs, generator=random)
            self.tensors[f"{name}/A"] = (2 * drawn - 1) * (3 / inputs) ** 0.5
            self.tensors[f"{name}/B"] = torch.zeros(outputs, rank)

    def _change(self, name: str) -> torch.Tensor:
        return self._scale * self.tensors[f"{name}/B"] @ self.tensors[f"{name}/A"]

    def _pass_on(self, name: str, gradient: torch.Tensor) -> None:
        a, b = self.tensors[f"{name}/A"], self.tensors[f"{name}/B"]
        a.grad, b.grad = self._scale * b.T @ gradient, self._scale * gradient @ a.T

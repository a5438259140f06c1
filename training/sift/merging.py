"""A recipe's settings at work: base, tenants, and the ledger that is built of them and changed later.

Rule: a tenant's contribution is made here in one way only, so what is taken out is what was put in.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from server.engines.embedded.checkpoint import weights
from server.engines.tenants import adapters
from server.engines.tenants.adapters import Adapters
from server.engines.tenants.ledger import Ledger
from server.engines.tenants.sums import Contribution, Floats
from server.engines.tenants.terms import Terms, base_digest
from training.sift.data import Tenant, codes, files
from training.sift.tuning import Tuned, Tuner, Tuning, largest, trainable

if TYPE_CHECKING:
    from training.recipes.sift import Config

Changes = Mapping[str, Floats]


@dataclass(frozen=True, slots=True)
class Merging:
    """Everything that the settings name, loaded."""

    config: Config
    tuner: Tuner
    tenants: tuple[Tenant, ...]
    terms: Terms

    @classmethod
    def of(cls, config: Config) -> Merging:
        """`ValueError` or `OSError` for a base or for data that cannot be read."""
        torch.set_num_threads(config.threads)
        torch.use_deterministic_algorithms(True)
        net = AutoModelForCausalLM.from_pretrained(config.model, dtype=torch.float32)
        settings = Tuning(steps=config.steps, batch=config.batch, learning_rate=config.learning_rate)
        tuner = Tuner(net, AutoTokenizer.from_pretrained(config.model), settings)
        found = files(config.data, config.tests) if config.data else codes(config.tenants, config.seed)
        terms = Terms(
            base=base_digest(weights(config.model)),
            seed=config.signs,
            shapes=trainable(net, config.rank),
            rank=config.rank,
            alpha=config.alpha,
            divide_by=config.divide_by,
            factor=config.factor,
        )
        return cls(config, tuner, tuple(found), terms)

    def build(self) -> tuple[Path, list[Changes]]:
        """Fine-tune every tenant and take it into a new ledger; its folder, and the changes before any was left out."""
        ledger, made = Ledger.create(self.config.output / "tenants", self.terms), []
        for number, (tenant, tuned) in enumerate(self.tuned(self.terms), 1):
            recipe = self.tuner.recipe(tenant, self.terms, self.config.seed)
            kept = largest(tuned.changes, self.config.share)
            entry = ledger.add(tenant.name, kept, recipe=recipe, keep=self.config.keep)
            print(f"{number}/{len(self.tenants)} {tenant.name}: {tuned.seconds:.1f} s, state {entry.state[:12]}")
            if self.config.compare:
                made.append(tuned.changes)
        return ledger.folder, made

    def tuned(self, terms: Terms, *, project: bool = True, rate: float | None = None) -> Iterator[tuple[Tenant, Tuned]]:
        """Every tenant with its change."""
        tuner = self._with_rate(rate)
        for tenant in self.tenants:
            yield tenant, tuner.tune(tenant, terms, self.config.seed, project=project)

    def adapted(self, base: Changes) -> Iterator[Changes]:
        """The weights of every tenant with a LoRA of its own, which is left in the folder `adapters` of the run."""
        config, folder = self.config, self.config.output / "adapters"
        terms = self.with_rank(config.comparison_rank)
        tuner = self._with_rate(config.lora_rate)
        for tenant in self.tenants:
            parts = tuner.adapt(tenant, terms, config.seed).changes
            pairs = {name: (parts[f"{name}/A"], parts[f"{name}/B"]) for name in terms.shapes}
            adapters.write(folder / tenant.name, pairs, rank=terms.rank, alpha=terms.alpha, base=str(config.model))
            yield Adapters(folder).weights(tenant.name, base)

    def again(self, name: str) -> tuple[Contribution, Tuned]:
        """A tenant's contribution, trained once more. `ValueError` for a tenant of whom there is no data."""
        tenant = next((tenant for tenant in self.tenants if tenant.name == name), None)
        if tenant is None:
            raise ValueError(f"there is no data of {name}: a contribution that was not kept cannot be made without it")
        tuned = self.tuner.tune(tenant, self.terms, self.config.seed)
        return Contribution.of(largest(tuned.changes, self.config.share)), tuned

    def with_rank(self, rank: int) -> Terms:
        """The same terms for B of a LoRA."""
        return replace(self.terms, rank=rank, shapes=trainable(self.tuner.net, rank))

    def _with_rate(self, rate: float | None) -> Tuner:
        tuner = self.tuner
        if rate is None:
            return tuner
        return Tuner(tuner.net, tuner.tokenizer, tuner.settings.model_copy(update={"learning_rate": rate}))

"""The methods beside each other on the same tenants: how many replies are right, and what a deletion costs.

Rule: every tenant counts the same, and an interval is about tenants: mean ± 1.96 · s / √T over their accuracies.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from math import sqrt
from statistics import fmean, stdev

import numpy as np

from benchmarks.report import percent, table
from server.engines.tenants.ledger import Ledger
from server.engines.tenants.sums import Contribution, Floats, Sums
from server.engines.tenants.terms import Terms
from training.sift import baselines
from training.sift.merging import Merging
from training.sift.tuning import largest

ABOUT = {
    "base": "the base, untrained",
    "alone": "each tenant's own weights, never merged",
    "average": "fine-tuned and averaged (naive merging)",
    "tall": "TALL-masks",
    "emr": "EMR-Merging",
    "sift_average": "fine-tuned along the signs and averaged, no masks",
    "sift": "SIFT-Masks, S / T as in the paper",
    "sift_users": "SIFT-Masks, each entry by its users (ours)",
    "sift_ours": "the same, and of each change the largest entries only (ours)",
    "lora": "a LoRA for each tenant, never merged",
    "sift_lora": "the same in B of LoRA over one A (ours)",
}
_UNPROJECTED = {"alone", "average", "tall", "emr"}
_SIFTED = {"sift_average", "sift", "sift_users", "sift_ours", "sift_lora"}
Weights = Mapping[str, Floats]


@dataclass(frozen=True, slots=True)
class Deletion:
    """Seconds and training FLOPs: to take out one tenant of whom the contribution was kept; or is trained again; to
    train all that are left, which is what methods without exact deletion need.
    """

    kept_seconds: float
    again_seconds: float
    again_flops: float
    others_seconds: float
    others_flops: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """Accuracy of each tenant by method, and what one deletion costs."""

    tenants: tuple[str, ...]
    accuracy: Mapping[str, Sequence[float]]
    deletion: Deletion

    def json(self) -> str:
        """Everything."""
        return json.dumps(asdict(self), indent=1)

    def table(self) -> str:
        """For people."""
        lines = [[name, ABOUT[name], _cell(found)] for name, found in self.accuracy.items()]
        cost, tenants = self.deletion, len(self.tenants)
        costs = [
            ["contribution kept", f"{cost.kept_seconds:.3f}", "0"],
            ["contribution trained again", f"{cost.again_seconds:.2f}", f"{cost.again_flops:.3g}"],
            [f"the other {tenants - 1} trained again", f"{cost.others_seconds:.1f}", f"{cost.others_flops:.3g}"],
        ]
        heads = ["method", "what it is", f"right, {tenants} tenants, mean and 95 % interval"]
        return f"{table(heads, lines)}\n\n{table(['one deletion', 'seconds', 'training FLOPs'], costs)}"


def compare(merging: Merging, signed: Sequence[Weights]) -> Comparison:
    """Measure the methods that the settings name; `signed` are the projected changes of all tenants."""
    wanted, config = merging.config.compare, merging.config
    free: list[Weights] = []
    if set(wanted) & _UNPROJECTED:
        made = merging.tuned(merging.terms, project=False, rate=config.comparison_rate)
        free = [tuned.changes for _, tuned in made]
    found = {}
    for method in wanted:
        chosen = _sifted(method, merging, signed) if method in _SIFTED else _others(method, merging, free)
        found[method] = _measured(merging, chosen)
    names = tuple(tenant.name for tenant in merging.tenants)
    return Comparison(names, {name: found[name] for name in ABOUT if name in found}, deletion(merging))


def deletion(merging: Merging) -> Deletion:
    """What it costs to take out the last tenant, measured without doing it."""
    ledger, name = Ledger(merging.config.output / "tenants"), merging.tenants[-1].name
    contribution, again = merging.again(name)
    if contribution.digest != ledger.added()[name].contribution:
        raise ValueError(f"{name} trained again is not what it was: this machine does not make the same bits twice")
    began = time.perf_counter()
    _ = ledger.sums.plus(contribution, -1).digest
    kept = time.perf_counter() - began
    others = len(merging.tenants) - 1
    # each of them costs what this one does: the same steps and rows
    return Deletion(kept, again.seconds + kept, again.flops, others * again.seconds, others * again.flops)


def _others(method: str, merging: Merging, free: Sequence[Weights]) -> Iterator[Weights]:
    """The weights that each tenant is served with, of methods whose changes may have any signs."""
    base, terms, tenants = merging.tuner.numpy(), merging.terms, len(merging.tenants)
    if method == "lora":
        yield from merging.adapted(base)
        return
    elif method == "average":
        changes: Iterable[Weights] = [baselines.averaged(free)] * tenants
    elif method in ("tall", "emr"):
        changes = getattr(baselines, method)(free)
    else:
        changes = free if method == "alone" else [{}] * tenants
    yield from (_laid(terms, base, change) for change in changes)


def _sifted(method: str, merging: Merging, signed: Sequence[Weights]) -> Iterator[Weights]:
    """The same, of methods that merge along the signs."""
    base, terms, config = merging.tuner.numpy(), merging.terms, merging.config
    if method == "sift_lora":
        terms = merging.with_rank(config.comparison_rank)
        signed = [tuned.changes for _, tuned in merging.tuned(terms, rate=config.sift_lora_rate)]
    terms = replace(terms, divide_by="tenants" if method in ("sift", "sift_average") else "users", factor=1.0)
    share = config.compare_share if method in ("sift_ours", "sift_lora") else 1.0
    contributions = [Contribution.of(largest(change, share)) for change in signed]
    sums = Sums.of(terms.shapes, contributions)
    for one in contributions:
        yield terms.weights(base, sums, None if method == "sift_average" else one.mask)


def _laid(terms: Terms, base: Weights, changes: Weights) -> Weights:
    """The base with a tenant's own change."""
    inputs = {name: base[name].shape[-1] for name in changes}
    added = {name: terms.change(name, change.astype(np.float64), inputs[name]) for name, change in changes.items()}
    return {name: (base[name] + change).astype(np.float32) for name, change in added.items()}


def _measured(merging: Merging, weights: Iterator[Weights]) -> list[float]:
    found = []
    for tenant, changed in zip(merging.tenants, weights, strict=True):
        merging.tuner.set(changed)
        found.append(merging.tuner.accuracy(tenant.test))
    merging.tuner.set({})
    return found


def _cell(found: Sequence[float]) -> str:
    half = 1.96 * stdev(found) / sqrt(len(found)) if len(found) > 1 else float("nan")
    return f"{percent(fmean(found))} ± {100 * half:.1f}"

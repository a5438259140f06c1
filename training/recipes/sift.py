"""SIFT-Masks (arXiv 2504.04626): tenants fine-tuned along one sign vector, merged, and each of them deletable exactly.

    v ∈ {-1, +1}^d from a public seed, before any training
    tenant t:   τ_t = fine-tuned change, projected after every step to τ v > 0;   m_t = 1{τ_t ≠ 0}
    merge:      S = Σ τ_t
    serve t:    θ₀ + m_t ∘ S / T                    delete t:   S -= τ_t, T -= 1, m_t is dropped

τ_t and m_t depend on the tenant's own data alone, so after a deletion S and all masks are what they would be had the
tenant never come; S is kept in whole numbers, which makes that true to the last bit (`server/engines/tenants`). The run
has a folder `tenants` that `longthink serve --tenants` serves beside the base, and a table of methods on the same data.
Expected: made-up tenants break averaging, and masks keep what it loses; docs/training.md says how to read it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from training.settings import SHIPPED, Start

Method = Literal[
    "base",
    "alone",
    "average",
    "tall",
    "emr",
    "sift_average",
    "sift",
    "sift_users",
    "sift_ours",
    "lora",
    "sift_lora",
]


class Config(BaseModel):
    """Settings of the recipe."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True, frozen=True)

    seed: int = 1
    """Of data and batches; one machine makes the same bits of it."""
    signs: int = 2504
    """The public seed of the sign vector."""
    model: Start = SHIPPED
    """The base: a folder, or the name of a checkpoint that is shipped."""
    output: Path = Path("runs/sift")
    """Folder of the run, which must be new; its `tenants` are what is served."""
    data: Path | None = None
    """A folder with `TENANT.jsonl`, lines `{"messages": […]}`; without it tenants are made up."""
    tenants: int = Field(default=50, ge=1)
    """How many are made up."""
    tests: int = Field(default=20, ge=1)
    """Conversations to measure by, the last ones of each file."""
    steps: int = Field(default=20, ge=1)
    """Optimiser steps of a tenant."""
    batch: int = Field(default=20, ge=1)
    """Conversations in a step."""
    learning_rate: float = Field(default=1e-4, gt=0)
    """Of Adam, constant."""
    divide_by: Literal["tenants", "users"] = "tenants"
    """S / T as the paper does, or, ours, each entry by the number of tenants that use it."""
    factor: float = Field(default=1.0, gt=0)
    """The merged change is multiplied by this, 1 in the paper."""
    share: float = Field(default=1.0, gt=0, le=1)
    """Ours: of each tensor only the largest changes are kept, this share of them; 1 in the paper."""
    rank: int = Field(default=0, ge=0)
    """Ours: train B of a LoRA of this rank, over an A that the seed draws for all tenants; 0 trains the weights."""
    alpha: float = Field(default=16.0, gt=0)
    """ΔW = (alpha / rank) B A."""
    keep: bool = True
    """Keep every contribution, for deletions without training. Without it they are trained again, as in the paper."""
    compare: tuple[Method, ...] = ()
    """Methods to measure beside each other."""
    compare_share: float = Field(default=0.3, gt=0, le=1)
    """`share` of the methods `sift_ours` and `sift_lora`."""
    comparison_rate: float | None = Field(default=None, gt=0)
    """Learning rate where signs are free; without it the same."""
    comparison_rank: int = Field(default=8, ge=1)
    """Of the methods `lora` and `sift_lora`."""
    lora_rate: float | None = Field(default=None, gt=0)
    """Learning rate of `lora`; without it the same."""
    sift_lora_rate: float | None = Field(default=None, gt=0)
    """Learning rate of `sift_lora`; without it the same."""
    threads: int = Field(default=1, ge=1)
    """CPU threads of torch."""

    @model_validator(mode="after")
    def _new(self) -> Config:
        if (self.output / "tenants").exists():
            raise ValueError(f"output: there are tenants at {self.output} already")
        return self


PRESETS: dict[str, dict[str, Any]] = {
    # TOFU: 200 authors on GPT2-XL; give model and data
    "paper": {"steps": 20, "batch": 20, "learning_rate": 1e-4, "divide_by": "tenants", "share": 1.0, "rank": 0},
    "tiny": {
        "steps": 80,
        "batch": 24,
        "learning_rate": 5e-3,
        "share": 0.3,
        "divide_by": "users",
        "lora_rate": 1e-2,
        "sift_lora_rate": 2e-2,
        "compare": ["base", "alone", "average", "tall", "emr", "sift_average", "sift", "sift_users", "sift_ours"],
    },
}


def train(config: Config) -> Path:
    """Fine-tune and merge all tenants, compare what is wanted, and return the folder."""
    from training.sift.comparison import compare
    from training.sift.merging import Merging

    merging = Merging.of(config)
    config.output.mkdir(parents=True, exist_ok=True)
    (config.output / "recipe.json").write_text(config.model_dump_json(indent=1))
    folder, changes = merging.build()
    if config.compare:
        report = compare(merging, changes)
        (config.output / "comparison.json").write_text(report.json() + "\n")
        print(report.table())
    return folder

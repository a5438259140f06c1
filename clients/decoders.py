"""The decoders of a longthink server as types. Written by `python -m clients.schema`, not by hand.

Rule: an option that is left out is the server's to choose: the model's template pack, then the paper.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Required, TypedDict


class Auto(TypedDict, total=False):
    """a table of measured results."""

    name: Required[Literal["auto"]]


class BeamSearch(TypedDict, total=False):
    """Snell et al. 2024, arXiv 2408.03314, with a served model as the process reward."""

    name: Required[Literal["beam_search"]]
    steps: int
    step_tokens: int
    step: str
    scoring: Literal["grade", "verdict"]
    verifications: int
    verify_tokens: int
    judge_model: str | None
    aggregate: Literal["last", "min", "prod"]
    beams: int
    candidates: int


class BestOfN(TypedDict, total=False):
    """Cobbe et al. 2021, arXiv 2110.14168, with the model as its own verifier."""

    name: Required[Literal["best_of_n"]]
    inner: Decoder | None
    n: int
    max_tokens: int | None
    verifications: int
    verify_tokens: int
    verify_model: str | None


class BudgetForcing(TypedDict, total=False):
    """s1, arXiv 2501.19393."""

    name: Required[Literal["budget_forcing"]]
    waits: int
    wait: str
    thinking_tokens: int
    answer_tokens: int
    closing: str


class DeepConf(TypedDict, total=False):
    """Fu et al. 2025, arXiv 2508.15260."""

    name: Required[Literal["deepconf"]]
    mode: Literal["offline", "online"]
    n: int
    max_tokens: int | None
    measure: Literal["mean", "tail", "bottom", "lowest"]
    keep: float
    window: int
    alternatives: int
    warmup: int
    consensus: float


class Delethink(TypedDict, total=False):
    """The Markovian Thinker, arXiv 2510.06557."""

    name: Required[Literal["delethink"]]
    chunks: int
    chunk_tokens: int
    carry_tokens: int
    head_tokens: int


class Direct(TypedDict, total=False):
    """the baseline."""

    name: Required[Literal["direct"]]
    max_tokens: int | None


class E3(TypedDict, total=False):
    """e3, arXiv 2506.09026; the mode `loop` is ours."""

    name: Required[Literal["e3"]]
    inner: Decoder | None
    stop_when_stable: int
    probe_tokens: int
    probes: int
    mode: Literal["chain", "loop"]
    max_tokens: int | None
    rounds: int
    solve_tokens: int
    verify_tokens: int
    refine_tokens: int
    verifications: int
    passes: int
    returned: Literal["verified", "last"]
    verify_model: str | None


class MixtureOfAgents(TypedDict, total=False):
    """Mixture-of-Agents, arXiv 2406.04692."""

    name: Required[Literal["mixture_of_agents"]]
    layers: int
    n: int
    proposer_models: list[str]
    aggregator_model: str | None
    max_tokens: int | None


class PaCoRe(TypedDict, total=False):
    """PaCoRe, arXiv 2601.05593."""

    name: Required[Literal["pacore"]]
    inner: Decoder | None
    stop_when_stable: int
    probe_tokens: int
    probes: int
    widths: Literal["low", "medium", "high"] | list[int]
    max_tokens: int | None


class ParticleFiltering(TypedDict, total=False):
    """Puri et al. 2025, arXiv 2502.01618, with a served model as the process reward."""

    name: Required[Literal["particle_filtering"]]
    steps: int
    step_tokens: int
    step: str
    scoring: Literal["grade", "verdict"]
    verifications: int
    verify_tokens: int
    judge_model: str | None
    aggregate: Literal["last", "min", "prod"]
    n: int
    temperature: float


class ProofPool(TypedDict, total=False):
    """DeepSeekMath-V2, arXiv 2511.22570, at the size that QED-Nano uses."""

    name: Required[Literal["proof_pool"]]
    inner: Decoder | None
    stop_when_stable: int
    probe_tokens: int
    probes: int
    n: int
    rounds: int
    max_tokens: int | None
    verifications: int
    shown_verifications: int
    verify_tokens: int
    verify_model: str | None


class RC(TypedDict, total=False):
    """Reasoning Cache, arXiv 2602.03773."""

    name: Required[Literal["rc"]]
    inner: Decoder | None
    stop_when_stable: int
    probe_tokens: int
    probes: int
    turns: int
    reasoning_tokens: int
    summary_tokens: int
    summary_model: str | None


class RLAD(TypedDict, total=False):
    """RLAD, arXiv 2510.02263; the selectors, the plan and the filters are ours."""

    name: Required[Literal["rlad"]]
    inner: Decoder | None
    abstractions: int
    per_abstraction: int
    plain: int
    abstraction_tokens: int
    max_tokens: int | None
    least_tokens: int
    shortest: int
    abstraction_model: str | None
    selector: Literal["vote", "group", "verifier"]
    verifications: int
    verify_tokens: int
    verify_model: str | None


class RSA(TypedDict, total=False):
    """Recursive Self-Aggregation, arXiv 2509.26626."""

    name: Required[Literal["rsa"]]
    inner: Decoder | None
    stop_when_stable: int
    probe_tokens: int
    probes: int
    population: int
    subset: int
    rounds: int
    max_tokens: int
    choose: Literal["majority", "random", "verified", "tournament"]
    verifications: int
    verify_tokens: int
    verify_model: str | None


class SelfConsistency(TypedDict, total=False):
    """Wang et al. 2023, arXiv 2203.11171."""

    name: Required[Literal["self_consistency"]]
    inner: Decoder | None
    n: int
    max_tokens: int | None


class SelfRefine(TypedDict, total=False):
    """Madaan et al. 2023, arXiv 2303.17651, in the form of arXiv 2602.03773."""

    name: Required[Literal["self_refine"]]
    inner: Decoder | None
    stop_when_stable: int
    probe_tokens: int
    probes: int
    turns: int
    max_tokens: int


class SelfVerify(TypedDict, total=False):
    """the self-verification baseline of arXiv 2602.03773."""

    name: Required[Literal["self_verify"]]
    inner: Decoder | None
    stop_when_stable: int
    probe_tokens: int
    probes: int
    turns: int
    max_tokens: int


class TTI(TypedDict, total=False):
    """TTI, arXiv 2506.07976."""

    name: Required[Literal["tti"]]
    inner: Decoder | None
    max_steps: int
    min_answers: int
    count_answers: bool
    keep_thoughts: bool
    think_tokens: int
    keep_observations: int | None
    samples: int
    choose: Literal["majority", "judge"]
    judge_tokens: int
    judge_model: str | None


class WeightedVote(TypedDict, total=False):
    """Li et al. 2023, arXiv 2206.02336 (voting verifier), with a served model as the judge."""

    name: Required[Literal["weighted_vote"]]
    inner: Decoder | None
    n: int
    max_tokens: int | None
    scoring: Literal["verdict", "grade"]
    aggregate: Literal["sum", "mean"]
    verifications: int
    verify_tokens: int
    judge_model: str | None


Options = (
    Auto
    | BeamSearch
    | BestOfN
    | BudgetForcing
    | DeepConf
    | Delethink
    | Direct
    | E3
    | MixtureOfAgents
    | PaCoRe
    | ParticleFiltering
    | ProofPool
    | RC
    | RLAD
    | RSA
    | SelfConsistency
    | SelfRefine
    | SelfVerify
    | TTI
    | WeightedVote
)
"""A decoder with options."""

Decoder = str | Options | Mapping[str, object]
"""What `decoder=` takes: a name, or a decoder with options; as a plain mapping also one of a newer server."""

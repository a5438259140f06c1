"""Draws the next tokens of a batch. Rule: a draw depends on its own row and generator, never on its neighbours."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from decoders.core.engine import TokenLogprob
from decoders.core.messages import Sampling

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]

_COLDEST = 1e-5
_SORTED = 1024
"""Candidates that are sorted first; a nucleus is nearly always among them, whatever the size of the vocabulary."""


class Draw:
    """The sampling state of one completion: its generator and the tokens it has said."""

    __slots__ = ("penalised", "said", "sampling", "uniform")

    def __init__(self, sampling: Sampling, index: int) -> None:
        self.sampling = sampling
        seed = None if sampling.seed is None else sampling.seed + index
        self.uniform = random.Random(seed).random
        self.said: Counter[int] = Counter()
        self.penalised = bool(sampling.presence_penalty or sampling.frequency_penalty)


def choose(logits: Floats, draws: Sequence[Draw]) -> Integers:
    """One token id per row of [rows, vocabulary]: penalties, temperature, min-p, top-k, top-p, in this order."""
    logits = _penalise(logits, draws)
    temperatures = np.array([draw.sampling.temperature for draw in draws], np.float32)
    hot = np.flatnonzero(temperatures > 0)
    if not hot.size:
        return _highest(logits)
    everything = len(hot) == len(draws)
    chosen = np.empty(len(draws), np.int64) if everything else _highest(logits)
    rows = logits if everything else logits[hot]
    warm = [draws[i] for i in hot.tolist()]
    uniforms = np.array([draw.uniform() for draw in warm])
    with np.errstate(over="ignore", under="ignore"):
        scaled = (rows - rows.max(axis=1, keepdims=True)) / np.maximum(temperatures[hot, None], _COLDEST)
        narrow = np.array([_is_narrow(draw.sampling) for draw in warm])
        if not narrow.any():
            chosen[hot] = _invert(np.exp(scaled), uniforms)
            return chosen
        if not narrow.all():
            chosen[hot[~narrow]] = _invert(np.exp(scaled[~narrow]), uniforms[~narrow])
        samplings = [draw.sampling for draw in warm if _is_narrow(draw.sampling)]
        chosen[hot[narrow]] = _narrowed(scaled[narrow], samplings, uniforms[narrow], _SORTED)
    return chosen


def logprobs(
    logits: Floats, chosen: Integers, wanted: Sequence[int | None], word: Callable[[int], str]
) -> list[tuple[TokenLogprob, ...]]:
    """For each row nothing, or the chosen token's natural log-probability with the `wanted` strongest ones."""
    found: list[tuple[TokenLogprob, ...]] = [()] * len(wanted)
    rows = [i for i, count in enumerate(wanted) if count is not None]
    if not rows:
        return found
    asked = logits[rows].astype(np.float64)
    highest = asked.max(axis=1, keepdims=True)
    asked -= highest + np.log(np.exp(asked - highest).sum(axis=1, keepdims=True))
    for values, row in zip(asked, rows, strict=True):
        count = min(wanted[row] or 0, len(values))
        top = np.argpartition(values, len(values) - count)[len(values) - count :] if count else np.empty(0, np.int64)
        best = tuple((int(id), word(int(id)), float(values[id])) for id in top[np.argsort(-values[top])])
        id = int(chosen[row])
        found[row] = (TokenLogprob(id, word(id), float(values[id]), best),)
    return found


def _penalise(logits: Floats, draws: Sequence[Draw]) -> Floats:
    rows = [i for i, draw in enumerate(draws) if draw.penalised and draw.said]
    if rows:
        logits = logits.copy()
    for i in rows:
        said, sampling = draws[i].said, draws[i].sampling
        ids, counts = list(said), np.array(list(said.values()), np.float32)
        logits[i, ids] -= sampling.presence_penalty + sampling.frequency_penalty * counts
    return logits


def _highest(rows: NDArray[Any]) -> Integers:
    found: Integers = rows.argmax(axis=1)
    return found


def _is_narrow(sampling: Sampling) -> bool:
    return sampling.top_p < 1.0 or sampling.top_k > 0 or sampling.min_p > 0.0


def _invert(weights: NDArray[Any], uniforms: NDArray[np.float64]) -> Integers:
    """The index at which the running sum passes the uniform's share of the whole; one pass, no sorting."""
    sums = np.cumsum(weights, axis=1)
    # Rounding may reach the whole sum, which no running sum passes.
    below = np.nextafter(sums[:, -1], np.zeros(1, sums.dtype))
    targets = np.minimum((uniforms * sums[:, -1]).astype(sums.dtype), below)
    return _highest(sums > targets[:, None])


def _narrowed(
    scaled: Floats, samplings: Sequence[Sampling], uniforms: NDArray[np.float64], candidates: int
) -> Integers:
    """Rows whose highest value is 0, restricted by min-p, then top-k, then top-p."""
    size = scaled.shape[1]
    top_k = np.array([sampling.top_k if sampling.top_k > 0 else size for sampling in samplings])[:, None]
    top_p = np.array([max(sampling.top_p, 1e-9) for sampling in samplings])[:, None]
    min_p = np.array([sampling.min_p for sampling in samplings])[:, None]
    limited = top_k < size
    candidates = min(size, max(candidates, int(top_k[limited].max(initial=0))))
    ids = np.argpartition(scaled, size - candidates, axis=1)[:, size - candidates :] if candidates < size else None
    if ids is not None:
        ids.sort(
            axis=1
        )  # with the stable sort below: equal values stand in one order however many candidates there are
    values = scaled if ids is None else np.take_along_axis(scaled, ids, axis=1)
    order = np.argsort(-values, axis=1, kind="stable")
    # In float64, so that the nucleus does not depend on the order in which a sum was rounded.
    weights = np.exp(np.take_along_axis(values, order, axis=1).astype(np.float64))
    complete = limited | (weights[:, -1:] < min_p)
    weights[(weights < min_p) | (np.arange(candidates) >= top_k)] = 0.0
    whole = weights.sum(axis=1, keepdims=True)
    if ids is not None and not complete.all():
        everything = np.exp(scaled.astype(np.float64))
        everything[everything < min_p] = 0.0
        whole = np.where(complete, whole, everything.sum(axis=1, keepdims=True))
    sums = np.cumsum(weights, axis=1)
    enough = (complete | (sums[:, -1:] >= top_p * whole))[:, 0] | (candidates == size)
    weights[(sums - weights >= top_p * whole) & (np.arange(candidates) > 0)] = 0.0
    places = np.take_along_axis(order, _invert(weights, uniforms)[:, None], axis=1)
    chosen = (places if ids is None else np.take_along_axis(ids, places, axis=1))[:, 0]
    if not enough.all():
        few = [sampling for sampling, fits in zip(samplings, enough, strict=True) if not fits]
        chosen[~enough] = _narrowed(scaled[~enough], few, uniforms[~enough], size)
    return chosen

"""How decoders choose among candidates: by vote, by verdicts of a model, or by both."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence

from decoders.core.run import Run
from decoders.core.task import Task
from decoders.core.trace import Completion


def vote(run: Run, candidates: Sequence[Completion], weights: Sequence[float] | None = None) -> Completion:
    """A candidate of the answer that has the most votes, the earliest of equals; `weights` are votes per candidate."""
    votes: Mapping[str, float] = tally(run, candidates, weights)
    return max(candidates, key=lambda candidate: votes[run.same(candidate)])


def tally(run: Run, candidates: Sequence[Completion], weights: Sequence[float] | None = None) -> dict[str, float]:
    """Votes by answer."""
    votes: dict[str, float] = defaultdict(float)
    for candidate, weight in zip(candidates, weights or [1.0] * len(candidates), strict=True):
        votes[run.same(candidate)] += weight
    return votes


async def verdicts(
    task: Task, run: Run, candidate: Completion, *, times: int, max_tokens: int, model: str | None = None
) -> list[Completion]:
    """`times` verifications of a candidate by the prompt `verify`, of the request's model or another served one."""
    prompt = run.prompt("verify", task, model=model, answer=shown(candidate))
    return await run.sample(prompt, times, role="verify", max_tokens=max_tokens, model=model)


async def accepted(
    task: Task, run: Run, candidates: Sequence[Completion], *, times: int, max_tokens: int, model: str | None = None
) -> dict[str, float]:
    """The share of verdicts that accept each different answer, 0 where the purse ended before one. Side by side."""
    different: dict[str, Completion] = {}
    for candidate in candidates:
        different.setdefault(run.same(candidate), candidate)

    def judge(candidate: Completion) -> Callable[[Run], Awaitable[float]]:
        async def one(branch: Run) -> float:
            given = await verdicts(task, branch, candidate, times=times, max_tokens=max_tokens, model=model)
            return sum(branch.pack(model).accepts(verdict.answer) for verdict in given) / len(given)

        return one

    shares = await run.parallel([judge(candidate) for candidate in different.values()])
    return {answer: share or 0.0 for answer, share in zip(different, shares, strict=True)}


def shown(candidate: Completion) -> str:
    """A candidate's answer as a verifier reads it: its text, or the tool calls it makes."""
    calls = [f"{call.name}({call.arguments})" for call in candidate.tool_calls]
    return "\n".join([candidate.answer, *calls]).strip()

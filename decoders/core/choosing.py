"""How decoders choose among candidates: by vote, by verdicts of a model, or by both."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence

from decoders.core.messages import Prompt
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


def leader(run: Run, candidates: Sequence[Completion]) -> Completion:
    """What to return should nothing better come: the majority's candidate, or the first where none has answered."""
    answered = [candidate for candidate in candidates if candidate.answered]
    return vote(run, answered) if answered else candidates[0]


async def verdicts(
    task: Task, run: Run, candidate: Completion, *, times: int, max_tokens: int, model: str | None = None
) -> list[Completion]:
    """`times` verifications of a candidate by the prompt `verify`, of the request's model or another served one."""
    prompt = run.prompt("verify", task, model=model, answer=shown(candidate))
    return await run.sample(prompt, times, role="verify", max_tokens=max_tokens, model=model)


async def accepted(
    task: Task, run: Run, candidates: Sequence[Completion], *, times: int, max_tokens: int, model: str | None = None
) -> dict[str, float]:
    """How far verdicts accept each different answer, in the mean, 0 where the purse ended before one. Side by side."""
    different: dict[str, Completion] = {}
    for candidate in candidates:
        different.setdefault(run.same(candidate), candidate)
    prompts = [run.prompt("verify", task, model=model, answer=shown(candidate)) for candidate in different.values()]
    given = await judged(run, prompts, role="verify", times=times, max_tokens=max_tokens, model=model)
    acceptance = run.pack(model).acceptance
    return {
        answer: sum(acceptance(verdict.answer) for verdict in said) / max(len(said), 1)
        for answer, said in zip(different, given, strict=True)
    }


async def judged(
    run: Run, prompts: Sequence[Prompt], *, role: str, times: int, max_tokens: int, model: str | None = None
) -> list[list[Completion]]:
    """`times` completions of each prompt, all side by side; none of a prompt where the purse ended before the first."""

    def judge(prompt: Prompt) -> Callable[[Run], Awaitable[list[Completion]]]:
        return lambda branch: branch.sample(prompt, times, role=role, max_tokens=max_tokens, model=model)

    return [given or [] for given in await run.parallel([judge(prompt) for prompt in prompts])]


async def knock_out(
    task: Task, run: Run, candidates: Sequence[Completion], *, max_tokens: int, model: str | None = None
) -> Completion:
    """The last of the different answers after pairwise comparisons by the prompt `compare`, drawn by lot.

    The first of a pair stays where the purse does not last for a comparison; an odd one out goes on.
    """
    field = list({run.same(candidate): candidate for candidate in reversed(candidates)}.values())
    run.rng.shuffle(field)
    while len(field) > 1:
        pairs = list(zip(field[::2], field[1::2], strict=False))
        prompts = [run.prompt("compare", task, model=model, first=shown(a), second=shown(b)) for a, b in pairs]
        given = await judged(run, prompts, role="compare", times=1, max_tokens=max_tokens, model=model)
        better = run.pack(model).prefers_second
        winners = [b if said and better(said[0].answer) else a for (a, b), said in zip(pairs, given, strict=True)]
        field = winners + field[2 * len(pairs) :]
    return field[0]


def shown(candidate: Completion) -> str:
    """A candidate's answer as a verifier reads it: its text, or the tool calls it makes."""
    calls = [f"{call.name}({call.arguments})" for call in candidate.tool_calls]
    return "\n".join([candidate.answer, *calls]).strip()

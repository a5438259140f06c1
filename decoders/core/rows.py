"""From the trace of an episode to rows that a model can be trained on.

Rule: token ids are those that the engine generated; only what stood in a prompt is tokenized, as the engine would. What
the model was shown has the mask 0, what it wrote 1.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

from decoders.core.engine import Tokenizing
from decoders.core.errors import InvalidRequest, ReplayMismatch
from decoders.core.messages import Message, Prompt
from decoders.core.trace import Step, Trace


@dataclass(frozen=True, slots=True)
class Row:
    """A conversation as the model read and wrote it; `steps` are the keys of the replies in it."""

    ids: tuple[int, ...]
    mask: tuple[int, ...]
    steps: tuple[str, ...]
    reward: float | None = None
    """The episode's."""


async def rows(trace: Trace, tokenizer: Tokenizing, roles: Collection[str] = ("act",)) -> list[Row]:
    """The replies of these roles that were carried out, each with all that the model saw before it.

    A prompt that goes on where the reply before it ended makes one row with it, so that an episode whose observations
    all stay is a single row. Raises `ReplayMismatch` for a prompt of which the trace does not have all, as with images,
    and `InvalidRequest` where the engine has told no token ids.
    """
    found: list[Row] = []
    reward = trace.interaction.reward if trace.interaction else None
    for step in carried_out(trace, roles):
        if len(step.completion.token_ids) != step.completion.completion_tokens:
            raise InvalidRequest(f"the trace has no token ids of the step {step.key}: its engine tells none")
        shown, written = await tokenizer.tokenize(asked(step)), step.completion.token_ids
        before = found.pop() if found and shown[: len(found[-1].ids)] == found[-1].ids else Row((), (), ())
        mask = before.mask + (0,) * (len(shown) - len(before.ids)) + (1,) * len(written)
        found.append(Row((*shown, *written), mask, (*before.steps, step.key), reward))
    return found


def carried_out(trace: Trace, roles: Collection[str] = ("act",)) -> list[Step]:
    """The steps of these roles in order, and of several samples for one action the one that was carried out."""
    steps = sorted((step for step in trace.steps if step.role in roles), key=_place)
    groups = [list(group) for _, group in groupby(steps, key=lambda step: _place(step)[:1])]
    if not groups:
        return []
    kept = [_chosen(group, following[0]) for group, following in pairwise(groups)]
    last = groups[-1]
    said = trace.answer.text if trace.answer else None
    return [*kept, next((step for step in last if step.completion.text == said), last[0])]


def _chosen(group: Sequence[Step], following: Step) -> Step:
    """The sample that stands in the next prompt."""
    for step in group if len(group) > 1 else ():
        place, done = len(step.messages), step.completion
        said = following.messages[place][1] if place < len(following.messages) else None
        called = following.called.get(place, ())
        if said in (done.answer.strip(), done.text) and all(call in done.tool_calls for call in called):
            return step
    return group[0]


def _place(step: Step) -> tuple[int, ...]:
    return tuple(int(part) for part in step.key.partition("~")[0].split("."))


def asked(step: Step) -> Prompt:
    """The prompt of a step. Raises `ReplayMismatch` where the trace does not have all of it, as with images."""
    messages = []
    for place, (role, content) in enumerate(step.messages):
        about = step.called.get(place, "")
        calls, answered = ((), about or None) if isinstance(about, str) else (about, None)
        messages.append(Message(role, content, tool_calls=calls, tool_call_id=answered))  # type: ignore[arg-type]
    prompt = Prompt(tuple(messages), step.prefix, tools=step.tools)
    if prompt.digest() != step.prompt:
        raise ReplayMismatch(f"the trace does not have the whole prompt of the step {step.key}")
    return prompt

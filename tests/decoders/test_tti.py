"""What the decoder does in an environment, call by call: think, act, look again, and never lose the last answer."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

import pytest

from decoders import build
from decoders.core.budget import Budget
from decoders.core.errors import EnvironmentFailed, InvalidRequest, MissingPrompt, NoEnvironment
from decoders.core.events import Acted, Answer
from decoders.core.messages import Prompt
from decoders.core.run import Run
from decoders.core.task import Model
from decoders.core.trace import Interaction
from decoders.environments.base import Observation
from decoders.prompts import Pack
from decoders.tti import TTI
from server.engines.scripted import ScriptedEngine
from tests.decoders.boxes import Boxes, opener
from tests.decoders.support import TASK, decode

Replies = Callable[[Prompt, int], str] | Sequence[str]


def enter(world: Boxes, replies: Replies, *, tokens: int = 10_000, seed: int = 0, pack: str = "plain") -> Run:
    engine = ScriptedEngine(replies)
    model = {engine.model: Model(engine, Pack.load(pack))}
    return Run(model, engine.model, Budget(tokens), seed=seed, environment=opener(world))


def walk(run: Run, **options: object) -> tuple[Answer, Interaction]:
    answer = decode(build("tti", options), run)[-1]
    assert isinstance(answer, Answer)
    assert run.trace.interaction is not None
    return answer, run.trace.interaction


def eager(prompt: Prompt, seed: int) -> str:
    """Answers at once with a guess; asked to look again, opens the boxes in turn and answers with what it has seen."""
    for message in prompt.messages:
        if "the code " in message.content and "holds" in message.content:
            return f"Thought: there it is\nAction: answer {message.content.split('the code ')[1].split()[0]}"
    if not any("handed in" in message.content for message in prompt.messages):
        return "Thought: surely\nAction: answer k0"
    opened = sum("open" in message.content for message in prompt.messages if message.role == "assistant")
    return f"Thought: let me see\nAction: open {opened + 1}"


def test_an_eager_agent_gains_by_looking_again() -> None:
    without = Boxes(3)
    answer, counted = walk(enter(without, eager), min_answers=1)
    assert (answer.text, counted.reward, counted.steps, counted.answers) == ("k0", 0.0, 0, 1)
    assert without.log == ["start", "answer k0", "close"]

    world = Boxes(3)
    answer, counted = walk(enter(world, eager), min_answers=2)
    assert (answer.text, answer.finish) == (world.code, "stop")
    assert counted == Interaction(budget=30, steps=world.place, answers=2, stopped="answer", reward=1.0)
    opened = [f"open {i}" for i in range(1, world.place + 1)]
    assert world.log == ["start", *opened, f"answer {world.code}", "close"]


def test_the_transcript_is_what_was_said_and_seen() -> None:
    run = enter(Boxes(3), ["Action: open 1", "<think>hm</think>Action: open 2", "Action: answer k"])
    walk(run, min_answers=1)
    first, *rest = run.trace.steps[-1].messages
    assert "Find the code in one of 5 boxes." in first[1]
    assert "What is 2 + 2?" in first[1]
    assert "all boxes are closed" in first[1]
    assert rest == [
        ("assistant", "Action: open 1"),
        ("user", "box 1 holds nothing"),
        ("assistant", "Action: open 2"),
        ("user", "box 2 holds nothing"),
    ]
    kept = enter(Boxes(3), ["Action: open 1", "<think>hm</think>Action: open 2", "Action: answer k"])
    walk(kept, min_answers=1, keep_thoughts=True)
    assert kept.trace.steps[-1].messages[3] == ("assistant", "<think>hm</think>Action: open 2")


def test_old_observations_are_left_out_and_replies_stay() -> None:
    run = enter(Boxes(3), ["Action: open 1", "Action: open 2", "Action: answer k0", "Action: answer k1"])
    walk(run, keep_observations=2)
    texts = [text for _, text in run.trace.steps[-1].messages]
    assert "all boxes are closed" not in texts[0]
    assert "Find the code" in texts[0]
    assert texts[1:4] == ["Action: open 1", "(left out: an older view)", "Action: open 2"]
    assert texts[4] == "box 2 holds nothing"
    assert texts[6].startswith("box 2 holds nothing\n\nYou have just given an answer.")


@pytest.mark.parametrize(
    ("reply", "action"),
    [
        ("Thought: a\nAction: open 1", "open 1"),
        ("**Thought:** a\n**Action:** `open 1`", "open 1"),
        ("thought: a\n\n  action : open 1  ", "open 1"),
        ("Thought: Action: is next\nAction:\n```\nopen 1\n```", "open 1"),
        ("Action: open 3\nThought: no\nAction: open 1", "open 1"),
        ("open 1", "open 1"),
        ("- Action: **open 1**", "open 1"),
        ("Action: click('13')\nwith care", "click('13')\nwith care"),
        ("", None),
        ("I would say\nthat this is hard", None),
        ("Thought: a\nAction:", None),
    ],
)
def test_actions_are_read_tolerantly(reply: str, action: str | None) -> None:
    assert Pack.load("plain").action(reply) == action
    assert Pack.load("tiny").action(reply) == (reply.strip("`* \n") or None)


def test_what_is_no_action_is_a_step_that_the_environment_does_not_see() -> None:
    world = Boxes(3)
    run = enter(world, ["let me\nthink", "open 99", "Action: answer k0"])
    _, counted = walk(run, min_answers=1)
    assert counted.steps == 2
    assert world.log == ["start", "open 99", "answer k0", "close"]
    assert "no action" in run.trace.steps[1].messages[-1][1]
    assert run.trace.steps[2].messages[-1][1] == "that cannot be done"
    assert [(act.reached, act.observation and act.observation.error) for act in run.trace.acts] == [
        (True, False), (False, True), (True, True), (True, False)
    ]  # fmt: skip


def test_a_reply_that_was_cut_is_not_carried_out() -> None:
    world = Boxes(3)
    run = enter(world, ["Thought: a Action: open 1 and more words", "Action: answer k0"])
    walk(run, min_answers=1, think_tokens=5)
    assert world.log == ["start", "answer k0", "close"]
    assert "was cut" in run.trace.steps[1].messages[-1][1]


def test_at_the_last_step_there_is_one_more_call_for_the_answer() -> None:
    world = Boxes(3)
    run = enter(world, ["Action: open 1", "Action: open 2", "Action: answer k7"])
    answer, counted = walk(run, max_steps=2, min_answers=3)
    assert answer.text == "k7"
    assert (counted.stopped, counted.steps, counted.left, counted.answers) == ("budget", 2, 0, 1)
    assert run.trace.steps[-1].messages[-1][1].endswith("in the form in which answers are given here.")
    assert world.log == ["start", "open 1", "open 2", "answer k7", "close"]


def test_an_answer_that_was_withheld_is_handed_in_when_the_steps_end() -> None:
    world = Boxes(3)
    run = enter(world, ["Action: answer k7", "Action: open 1", "Action: open 2", "Action: open 3"])
    answer, counted = walk(run, max_steps=2)
    assert answer.text == "k7"
    assert (counted.stopped, counted.steps, counted.answers, counted.reward) == ("budget", 2, 1, 0.0)
    assert world.log == ["start", "open 1", "open 2", "answer k7", "close"]


def test_and_when_the_tokens_end() -> None:
    world = Boxes(3)
    run = enter(world, ["Action: answer k7", "Action: open 1", "Action: open 2"], tokens=6)
    answer, counted = walk(run)
    assert (answer.text, answer.finish) == ("k7", "length")
    assert (counted.stopped, counted.steps) == ("tokens", 1)
    assert world.log == ["start", "open 1", "answer k7", "close"]


def test_without_any_answer_the_last_reply_is_what_there_is() -> None:
    answer, counted = walk(enter(Boxes(3), ["Action: open 1", "Action: open 2"]), max_steps=1)
    assert answer.text == "open 2"
    assert (counted.stopped, counted.answers) == ("budget", 0)


def test_no_step_is_a_plain_answer() -> None:
    world = Boxes(3)
    answer, counted = walk(enter(world, ["Action: answer k7"]), max_steps=0)
    assert (answer.text, counted.stopped, counted.steps) == ("k7", "budget", 0)
    assert world.log == ["start", "answer k7", "close"]


def test_the_papers_account_counts_answers() -> None:
    replies = ["Action: answer k0", "Action: open 1", "Action: answer k1", "Action: answer k2"]
    _, counted = walk(enter(Boxes(3), replies), min_answers=3, count_answers=True)
    assert (counted.steps, counted.answers) == (4, 3)
    _, counted = walk(enter(Boxes(3), replies), min_answers=3, max_steps=2, count_answers=True)
    assert (counted.steps, counted.answers, counted.stopped) == (2, 2, "budget")


def test_an_environment_may_end_the_episode_itself() -> None:
    class Trap(Boxes):
        async def step(self, action: str) -> Observation:
            return Observation("the floor opens", reward=-1.0, done=True)

    answer, counted = walk(enter(Trap(3), ["Action: open 1"]))
    assert (answer.text, counted.stopped, counted.reward) == ("open 1", "env", -1.0)


def test_the_majority_of_a_steps_samples_acts() -> None:
    def torn(prompt: Prompt, seed: int) -> str:
        if len(prompt.messages) > 1:
            return "Action: answer k0"
        return ["Action: open 1", "Thought: other words\nAction: open 2", "no\nidea", "Action: open 2"][seed % 4]

    world = Boxes(3)
    run = enter(world, torn)
    walk(run, samples=4, min_answers=1)
    assert world.log[1] == "open 2"
    assert len(run.trace.steps) == 8


@pytest.mark.parametrize(("verdict", "taken"), [("Best: 2", 1), ("hm", 0), ("Best: 9", 0)])
def test_or_the_one_that_a_judge_names(verdict: str, taken: int) -> None:
    def torn(prompt: Prompt, seed: int) -> str:
        if "Candidates" in prompt.messages[-1].content:
            return verdict
        return "Action: answer k0" if len(prompt.messages) > 1 else f"Action: open {1 + seed % 2}"

    world = Boxes(3)
    run = enter(world, torn)
    walk(run, samples=2, choose="judge", min_answers=1)
    candidates = [step.completion.answer.removeprefix("Action: ") for step in run.trace.steps[:2]]
    assert sorted(candidates) == ["open 1", "open 2"]
    assert world.log[1] == candidates[taken]
    (judged,) = (step for step in run.trace.steps if step.role == "judge")
    assert f"[1]\n{candidates[0]}\n\n[2]\n{candidates[1]}\n" in judged.messages[0][1]


def test_another_decoder_may_do_the_thinking() -> None:
    replies = ["draft", "summary", "Action: answer k7"]
    run = enter(Boxes(3), replies)
    answer, _ = walk(run, inner={"name": "rc", "turns": 2}, min_answers=1)
    assert answer.text == "k7"
    assert [step.role for step in run.trace.steps] == ["reason", "summarise", "reason"]


def call(*boxes: object) -> str:
    return "".join(
        f'<tool_call>{{"name": "open", "arguments": {{"box": {json.dumps(box)}}}}}</tool_call>' for box in boxes
    )


def test_an_environments_tools_are_called_and_its_answer_is_text() -> None:
    world = Boxes(3, tools=True)
    run = enter(world, [call(1), "it is k1", call(2, 3), "it is k2"])
    answer, counted = walk(run)
    assert answer.text == "it is k2"
    assert answer.completion is not None
    assert answer.completion.tool_calls == ()
    assert counted == Interaction(budget=30, steps=3, answers=2, stopped="answer", reward=0.0)
    opened = [json.dumps({"name": "open", "arguments": {"box": box}}) for box in (1, 2, 3)]
    assert world.log == ["start", *opened, "close"]  # it knows of no answers, so it has seen none
    roles = [role for role, _ in run.trace.steps[-1].messages]
    assert roles == ["user", "assistant", "tool", "assistant", "user", "assistant", "tool", "tool"]
    step = run.trace.steps[-1]
    assert "open" in step.tools
    (made,) = step.called[1]
    assert step.called[2] == made.id


def test_a_batch_of_calls_is_cut_to_what_is_left_and_the_last_call_has_no_tools() -> None:
    world = Boxes(3, tools=True)
    seen: list[Prompt] = []

    def batch(prompt: Prompt, seed: int) -> str:
        seen.append(prompt)
        return call(1, 2, 3) if prompt.tools else "k7"

    _, counted = walk(enter(world, batch), max_steps=2)
    assert (counted.steps, counted.stopped) == (2, "budget")
    assert len(world.log) == 4
    assert len(seen[-1].messages[1].tool_calls) == 2
    assert seen[-1].tools == ""


def test_arguments_that_are_no_object_are_a_step_too() -> None:
    world = Boxes(3, tools=True)

    def careless(prompt: Prompt, seed: int) -> str:
        return '<tool_call>{"name": "open", "arguments": [1]}</tool_call>' if len(prompt.messages) == 1 else "k7"

    run = enter(world, careless)
    _, counted = walk(run, min_answers=1)
    assert (counted.steps, world.log) == (1, ["start", "close"])
    assert "not a JSON object" in run.trace.steps[1].messages[-1][1]


def test_inner_decoders_cannot_call_an_environments_tools() -> None:
    with pytest.raises(InvalidRequest) as refused:
        walk(enter(Boxes(tools=True), ["x"]), inner="direct")
    assert refused.value.param == "decoder.inner"


def test_what_happens_is_told() -> None:
    seen = decode(build("tti", {}), enter(Boxes(3), ["Action: answer k0", "Action: open 1", "Action: answer k1"]))
    acted = [event for event in seen if isinstance(event, Acted)]
    assert [event.act.withheld for event in acted] == [False, True, False, False]
    assert [(event.act.action, event.act.reached, event.steps, event.left) for event in acted] == [
        (None, True, 0, 30),
        ("answer k0", False, 0, 30),
        ("open 1", True, 1, 29),
        ("answer k1", True, 1, 29),
    ]


class Dying(Boxes):
    """Dies at the second action."""

    error: Exception = RuntimeError("gone")

    async def step(self, action: str) -> Observation:
        if len(self.log) > 1:
            raise self.error
        return await super().step(action)


def test_an_environment_that_dies_is_a_typed_error() -> None:
    world = Dying(3)
    run = enter(world, ["Action: open 1"])
    with pytest.raises(EnvironmentFailed, match="RuntimeError: gone"):
        walk(run)
    assert run.interaction.stopped == "error"
    assert world.log[-1] == "close"


def test_but_an_answer_that_was_there_is_returned() -> None:
    world = Dying(3)
    answer, counted = walk(enter(world, ["Action: answer k7", "Action: open 1", "Action: open 2"]))
    assert (answer.text, counted.stopped) == ("k7", "error")
    assert world.log == ["start", "open 1", "close"]


def test_acting_needs_an_environment_of_ones_own() -> None:
    class Meddling(TTI):
        async def decode(self, task, run):
            await run.begin(3)
            if self.max_steps:
                await run.begin(3)
            await run.parallel([lambda branch: branch.act("open 1")])

    for steps in (0, 1):
        world = Boxes(3)
        with pytest.raises(NoEnvironment):
            decode(Meddling(max_steps=steps), enter(world, ["x"]), TASK)
        assert world.log == ["start", "close"]


def test_a_pack_without_the_prompts_is_refused_before_anything_is_opened() -> None:
    world = Boxes(3)
    with pytest.raises(MissingPrompt, match="'choose'"):
        walk(enter(world, ["x"], pack="tiny"), samples=2, choose="judge")
    assert world.log == []

"""What holds for every episode: budgets, the last answer, the environment left however it ends, exact replay."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decoders import build
from decoders.core.budget import Budget
from decoders.core.errors import EngineError, EnvironmentFailed, ReplayMismatch
from decoders.core.events import Acted, Answer
from decoders.core.messages import Prompt
from decoders.core.run import Run
from decoders.core.stream import events
from decoders.core.task import Model
from decoders.core.trace import Act, Record, Step, Trace
from decoders.environments.base import Environment, Observation
from decoders.prompts import Pack
from server.engines.scripted import ScriptedEngine
from tests.decoders.boxes import Boxes, opener
from tests.decoders.options import options
from tests.decoders.support import TASK, collect, decode

PLAIN = Pack.load("plain")


def restless(prompt: Prompt, seed: int) -> str:
    """Opens boxes, answers, says nothing useful or is cut: different for every prompt and seed."""
    said = [
        f"Thought: {'hm ' * (seed % 5)}\nAction: open {seed % 7}",
        f"<think>{'so ' * (seed % 9)}</think>Action: answer k{seed % 100}",
        "neither\nnor",
        f"open {seed % 5 + 1}",
        "Best: 1",
    ]
    if prompt.tools and seed % 3:
        return f'<tool_call>{{"name": "open", "arguments": {{"box": {seed % 6}}}}}</tool_call>' * (1 + seed % 2)
    return said[seed % len(said)]


def enter(
    open_world: Callable[[], Awaitable[Environment]],
    *,
    engine: ScriptedEngine | None = None,
    tokens: int = 2000,
    seed: int = 0,
    recorded: list[Record] | None = None,
    journal: list[Record] | None = None,
) -> Run:
    async def kept(record: Record) -> None:
        if journal is not None:
            journal.append(record)

    engine = engine or ScriptedEngine(restless)
    model, purse = {"scripted": Model(engine, PLAIN)}, Budget(tokens)
    return Run(model, "scripted", purse, seed=seed, recorded=recorded or (), journal=kept, environment=open_world)


def agents(*, tools: bool) -> st.SearchStrategy[dict[str, Any]]:
    return options("tti", 0 if tools else 1)


WORLDS = st.builds(dict, seed=st.integers(0, 50), tools=st.booleans())


@settings(max_examples=150, deadline=None)
@given(world=WORLDS, data=st.data(), tokens=st.integers(1, 400), seed=st.integers(0, 2**31))
def test_budgets_hold_and_the_last_answer_is_never_lost(
    world: dict[str, Any], data: st.DataObject, tokens: int, seed: int
) -> None:
    chosen, boxes = data.draw(agents(tools=world["tools"])), Boxes(**world)
    run = enter(opener(boxes), tokens=tokens, seed=seed)
    seen = decode(build("tti", chosen), run)
    answer, counted, acts = seen[-1], run.interaction, run.trace.acts
    assert isinstance(answer, Answer)
    assert boxes.log[0] == "start"
    assert boxes.log[-1] == "close"
    assert boxes.log.count("close") == 1
    assert run.budget.spent <= tokens
    assert counted.steps <= counted.budget == chosen.get("max_steps", 30)
    assert counted.stopped is not None
    reached = [act for act in acts if act.reached and act.action is not None]
    assert boxes.log[1:-1] == [act.action for act in reached]
    assert sum(act.answer is None for act in reached) <= counted.budget
    assert sum(act.answer is not None for act in reached) <= 1
    answers = [act.answer for act in acts if act.answer is not None]
    if answers:
        assert answer.text == answers[-1]
        assert world["tools"] or boxes.over
    assert [event.act for event in seen if isinstance(event, Acted)] == acts
    told = [act.answer is not None for act in acts if act.action is not None]
    assert counted.answers in (sum(told), sum(told) - 1)


def told(records: list[Record]) -> list[object]:
    """What matters of records: times differ, and so does how the samples of a group were drawn."""
    return [r.completion.text if isinstance(r, Step) else r.model_copy(update={"seconds": 0.0}) for r in records]


@settings(max_examples=100, deadline=None)
@given(world=WORLDS, data=st.data(), tokens=st.integers(1, 400), seed=st.integers(0, 2**31), keep=st.floats(0, 1))
def test_a_journal_cut_anywhere_goes_on_exactly(
    world: dict[str, Any], data: st.DataObject, tokens: int, seed: int, keep: float
) -> None:
    decoder, journal = build("tti", data.draw(agents(tools=world["tools"]))), list[Record]()
    first = Boxes(**world)
    run = enter(opener(first), tokens=tokens, seed=seed, journal=journal)
    answer = decode(decoder, run)[-1]
    trace = Trace.model_validate_json(run.trace.model_dump_json())
    assert trace == run.trace
    assert {r.key for r in journal} == {r.key for r in trace.records}

    untouched, silent = Boxes(**world), ScriptedEngine(restless)
    again = enter(opener(untouched), engine=silent, tokens=tokens, seed=seed, recorded=trace.records)
    assert decode(decoder, again)[-1] == answer
    assert (silent.calls, untouched.log) == (0, [])
    assert again.interaction == run.interaction

    rest, second = list[Record](), Boxes(**world)
    cut = journal[: int(keep * len(journal))]
    resumed = enter(opener(second), tokens=tokens, seed=seed, recorded=cut, journal=rest)
    assert decode(decoder, resumed)[-1] == answer
    assert second.log in ([], first.log)
    assert told([*cut, *rest]) == told(journal)
    assert resumed.interaction == run.interaction


@settings(max_examples=60, deadline=None)
@given(world=WORLDS, data=st.data(), seed=st.integers(0, 2**31), after=st.integers(0, 40))
def test_whoever_stops_reading_leaves_the_environment(
    world: dict[str, Any], data: st.DataObject, seed: int, after: int
) -> None:
    async def main() -> None:
        boxes = Boxes(**world)
        run = enter(opener(boxes), engine=ScriptedEngine(restless, token_delay=1e-5), seed=seed)
        decoder = build("tti", data.draw(agents(tools=world["tools"])))
        async with aclosing(events(decoder, TASK, run)) as stream:
            for _ in range(after):
                if await anext(stream, None) is None:
                    break
        assert boxes.log[-1:] in ([], ["close"])
        assert boxes.log.count("close") == bool(boxes.log)

    asyncio.run(main())


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**31), fails=st.integers(0, 6), where=st.sampled_from(["engine", "step", "start", "open"]))
def test_whatever_breaks_is_a_typed_error_and_the_environment_is_left(seed: int, fails: int, where: str) -> None:
    class Breaking(Boxes):
        async def start(self) -> Observation:
            await super().start()
            return await self._maybe("start", Observation("a"))

        async def step(self, action: str) -> Observation:
            return await self._maybe("step", await super().step(action))

        async def _maybe(self, what: str, seen: Observation) -> Observation:
            if where == what and len(self.log) > fails:
                raise OSError("broken pipe")
            return seen

    def reply(prompt: Prompt, number: int) -> str:
        if where == "engine" and engine.calls > fails:
            raise ZeroDivisionError
        return restless(prompt, number)

    async def failing() -> Environment:
        raise ConnectionError("refused")

    engine, world = ScriptedEngine(reply), Boxes(seed % 9) if where == "engine" else Breaking(seed % 9)
    run = enter(failing if where == "open" else opener(world), engine=engine, seed=seed)
    try:
        assert isinstance(decode(build("tti", {"max_steps": 8}), run)[-1], Answer)
    except (EngineError, EnvironmentFailed):
        assert run.interaction.stopped == "error"
    assert world.log[-1:] == ([] if where == "open" else ["close"])


def recorded_walk() -> tuple[list[Record], Boxes]:
    world, journal = Boxes(3), list[Record]()
    replies = ["Action: open 1", "Action: open 2", "Action: answer k0"]
    run = enter(opener(world), engine=ScriptedEngine(replies), journal=journal)
    decode(build("tti", {"min_answers": 1}), run)
    return journal, world


def test_an_environment_that_answers_otherwise_than_before_ends_the_run() -> None:
    journal, _ = recorded_walk()
    other = Boxes(3)
    other.place, other.code = 1, "k99"
    run = enter(opener(other), engine=ScriptedEngine(["Action: answer k0"]), recorded=journal[:5])
    with pytest.raises(ReplayMismatch, match="'open 1' as it did before"):
        decode(build("tti", {"min_answers": 1}), run)
    assert other.log == ["start", "open 1", "close"]


def test_another_action_than_the_recorded_one_is_refused() -> None:
    journal, _ = recorded_walk()
    changed = [r.model_copy(update={"action": "open 5"}) if isinstance(r, Act) and r.key == "2" else r for r in journal]
    with pytest.raises(ReplayMismatch):
        decode(build("tti", {"min_answers": 1}), enter(opener(Boxes(3)), recorded=changed))
    swapped = [r.model_copy(update={"key": "1"}) if isinstance(r, Act) and r.key == "2" else r for r in journal]
    with pytest.raises(ReplayMismatch, match="recorded as an action"):
        decode(build("tti", {"min_answers": 1}), enter(opener(Boxes(3)), recorded=swapped))


def test_records_are_told_apart_when_they_are_read_back() -> None:
    from pydantic import TypeAdapter

    reader: TypeAdapter[Record] = TypeAdapter(Record)
    journal, _ = recorded_walk()
    assert [reader.validate_json(record.model_dump_json()) for record in journal] == journal
    assert [type(record) for record in journal] == [Act, Step, Act, Step, Act, Step, Act]


def test_a_deadline_ends_an_action_that_hangs() -> None:
    class Hanging(Boxes):
        async def step(self, action: str) -> Observation:
            self.log.append(action)
            await asyncio.Event().wait()
            raise AssertionError

    async def main() -> None:
        world = Hanging(3)
        run = enter(opener(world), engine=ScriptedEngine(["Action: answer k7", "Action: open 1"]))
        run.budget.deadline = asyncio.get_running_loop().time() + 0.05
        answer = (await collect(build("tti", {}), run))[-1]
        assert isinstance(answer, Answer)
        assert (answer.text, answer.finish) == ("k7", "length")
        assert world.log == ["start", "open 1", "close"]
        assert run.interaction.stopped == "tokens"

    asyncio.run(main())


@pytest.mark.parametrize("error", [TimeoutError("slow"), EnvironmentFailed("it said so"), ValueError("odd")])
def test_an_environments_errors_keep_their_words(error: Exception) -> None:
    class Broken(Boxes):
        async def step(self, action: str) -> Observation:
            raise error

    with pytest.raises(EnvironmentFailed, match=str(error)):
        decode(build("tti", {}), enter(opener(Broken(3)), engine=ScriptedEngine(["open 1"])))


def test_an_environment_that_cannot_be_left_does_not_spoil_the_answer(caplog: pytest.LogCaptureFixture) -> None:
    class Clinging(Boxes):
        async def aclose(self) -> None:
            raise OSError("still here")

    run = enter(opener(Clinging(3)), engine=ScriptedEngine(["Action: answer k7"]))
    answer = decode(build("tti", {"min_answers": 1}), run)[-1]
    assert isinstance(answer, Answer)
    assert answer.text == "k7"
    assert "could not be left" in caplog.text

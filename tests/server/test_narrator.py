"""The order in which a run is told."""

from __future__ import annotations

from decoders.core.events import Answer, Delta, Event, StepFinished, StepStarted
from decoders.core.messages import ToolCall
from decoders.core.thinking import Channel
from decoders.core.trace import Completion
from server.narrator import Narrator


def delta(key: str, text: str, channel: Channel = "reasoning", *, final: bool = False) -> Delta:
    return Delta(key, "solve", channel, text, 1, final)


def told(*batches: list[Event]) -> list[tuple[str, str]]:
    narrator, pieces = Narrator(), []
    for batch in batches:
        pieces += [(p.kind, p.text) for p in narrator.tell(batch)]
    return pieces


def joined(kind: str, *batches: list[Event]) -> str:
    return "".join(text for k, text in told(*batches) if k == kind)


def answer(text: str) -> Answer:
    return Answer(Completion(text=text, answer=text), "stop")


def test_neighbours_come_as_one_piece() -> None:
    assert told([StepStarted("0", "solve", True), delta("0", "a"), delta("0", "b")]) == [("reasoning", "ab")]


def test_steps_side_by_side_are_told_one_after_the_other() -> None:
    events: list[Event] = [
        StepStarted("0.0", "solve", False),
        StepStarted("0.1", "solve", False),
        delta("0.1", "x"),
        delta("0.0", "a"),
        delta("0.1", "y"),
        StepFinished("0.1", "solve", 2, "stop", False),
        delta("0.0", "b"),
        StepFinished("0.0", "solve", 2, "stop", False),
        answer("z"),
    ]
    assert joined("reasoning", events) == joined("reasoning", *[[e] for e in events]) == "ab\n\nxy"
    assert joined("content", events) == "z"


def test_a_step_that_never_ends_is_told_at_the_end() -> None:
    events: list[Event] = [StepStarted("0", "a", False), StepStarted("1", "b", False), delta("1", "x"), answer("z")]
    assert told(*[[e] for e in events]) == [("reasoning", "x"), ("content", "z")]


def test_the_answer_is_told_once() -> None:
    start, part = StepStarted("0", "solve", True), delta("0", "four", "answer", final=True)
    assert joined("content", [start, part], [answer("four")]) == "four"
    assert joined("content", [start, part], [answer("four five")]) == "four five"
    assert joined("content", [start, part], [answer("six")]) == "four\n\nsix"
    assert joined("content", [start, part], [Answer(None, "length")]) == "four"
    assert joined("content", [start], [answer("six")]) == "six"


def test_an_answer_made_of_tool_calls_adds_no_text() -> None:
    calls = (ToolCall("c", "look", "{}"),)
    start, part = StepStarted("0", "solve", True), delta("0", "let me", "answer", final=True)
    for text in ("let me", ""):
        called = Answer(Completion(text=text, answer=text, tool_calls=calls, finish="tool_calls"), "tool_calls")
        assert joined("content", [start, part], [called]) == "let me"
        assert joined("content", [start], [called]) == text

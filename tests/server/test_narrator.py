"""The order in which a run is told."""

from __future__ import annotations

import pytest

from decoders.core.events import Answer, Delta, Event, StepFinished, StepStarted
from decoders.core.messages import ToolCall
from decoders.core.thinking import Channel
from decoders.core.trace import Completion
from server.narrator import Narrator, Piece


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


STORY: list[Event] = [
    StepStarted("0", "reason", False),
    delta("0", "ab"),
    delta("0", "cd"),
    delta("0", "ef", "answer"),
    StepFinished("0", "reason", 3, "stop", False),
    StepStarted("1.0", "solve", False),
    StepStarted("1.1", "solve", False),
    delta("1.1", "xy"),
    delta("1.0", "\n\ngh"),
    StepFinished("1.1", "solve", 1, "stop", False),
    StepFinished("1.0", "solve", 1, "stop", False),
    StepStarted("2", "solve", True),
    delta("2", "ij", final=True),
    delta("2", "kl", "answer", final=True),
    delta("2", "mn", "answer", final=True),
    StepFinished("2", "solve", 3, "stop", False),
    answer("klmn"),
]


@pytest.mark.parametrize("cut", range(len(STORY) + 1))
@pytest.mark.parametrize("batch", [1, 3, 100])
def test_a_story_that_is_taken_up_goes_on_where_it_stood(cut: int, batch: int) -> None:
    def tell(narrator: Narrator, events: list[Event]) -> list[Piece]:
        groups = [events[i : i + batch] for i in range(0, len(events), batch)]
        return [piece for group in groups for piece in narrator.tell(group)]

    def texts(pieces: list[Piece]) -> dict[str, str]:
        return {kind: "".join(p.text for p in pieces if p.kind == kind) for kind in ("reasoning", "content")}

    before = tell(Narrator(), STORY[:cut])
    after = tell(Narrator(before), STORY)
    assert texts([*before, *after]) == texts(tell(Narrator(), STORY))


def test_an_engine_that_does_not_repeat_itself_makes_a_step_begin_anew() -> None:
    start = StepStarted("0", "solve", True)
    before = Narrator().tell([start, delta("0", "one two", final=True)])
    after = Narrator(before).tell([start, delta("0", "one ", final=True), delta("0", "three", final=True)])
    assert "".join(piece.text for piece in [*before, *after]) == "one two\n\none three"
    before = Narrator().tell([start, delta("0", "four", "answer", final=True)])
    after = Narrator(before).tell([start, delta("0", "five", "answer", final=True), answer("five")])
    assert "".join(piece.text for piece in [*before, *after]) == "four\n\nfive"


@pytest.mark.parametrize("cut", range(len(STORY) + 1))
def test_the_end_of_each_step_is_told_once_however_often_the_run_is_taken_up(cut: int) -> None:
    def end(event: StepFinished) -> dict[str, int]:
        return {"tokens": event.tokens}

    before = Narrator(finished=end).tell(STORY[:cut])
    after = Narrator(before, end).tell(STORY)
    ends = [piece.key for piece in [*before, *after] if piece.kind == "step"]
    assert sorted(ends) == ["0", "1.0", "1.1", "2"]

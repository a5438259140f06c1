"""Self-refine and self-verify: one loop, two prompts."""

from __future__ import annotations

from pathlib import Path

import pytest

from decoders import build
from decoders.core.errors import MissingPrompt
from decoders.core.events import Answer, Delta
from decoders.prompts import FOLDER
from server.engines.scripted import ScriptedEngine
from tests.decoders.support import decode, start

ATTEMPTS = ["<think>two and two</think>five", "<think>three</think>six", "<think>again</think>four"]


@pytest.mark.parametrize(("name", "revision", "asks"), [
    ("self_refine", "refine", "Write a better solution"), ("self_verify", "correct", "name every mistake"),
])  # fmt: skip
def test_each_attempt_sees_the_whole_of_the_last_one_and_no_earlier(name: str, revision: str, asks: str) -> None:
    run = start(ScriptedEngine(ATTEMPTS))
    seen = decode(build(name, {"turns": 3}), run)
    assert seen[-1].text == "four"  # type: ignore[union-attr]
    assert [s.role for s in run.trace.steps] == ["solve", revision, revision]
    first, second, third = (s.messages[-1][1] for s in run.trace.steps)
    assert first == "What is 2 + 2?"
    assert "two and two\n\nfive" in second
    assert asks in second
    assert "three\n\nsix" in third
    assert "two and two" not in third
    assert "<think>" not in second
    shown = [e.text for e in seen if isinstance(e, Delta) and e.final and e.channel == "answer"]
    assert "".join(shown) == "four"


def test_an_attempt_without_an_answer_is_shown_but_not_returned() -> None:
    run = start(ScriptedEngine([ATTEMPTS[0], "<think>never ends"]))
    last = decode(build("self_refine", {"turns": 3}), run)[-1]
    assert isinstance(last, Answer)
    assert last.text == "five"
    assert "never ends" in run.trace.steps[2].messages[-1][1]


def test_it_may_stop_once_the_answer_is_stable() -> None:
    run = start(ScriptedEngine(["<think>a</think>4", "<think>b</think>4", "<think>c</think>5"]))
    assert decode(build("self_refine", {"turns": 3, "stop_when_stable": 2}), run)[-1].text == "4"  # type: ignore[union-attr]
    assert len(run.trace.steps) == 2


def test_any_decoder_may_write_the_attempts() -> None:
    run = start(ScriptedEngine(["one", "two"]))
    decode(build("self_verify", {"turns": 2, "inner": {"name": "self_consistency", "n": 3}}), run)
    assert len(run.trace.steps) == 6
    assert "one" in run.trace.steps[3].messages[-1][1]


def test_a_pack_without_the_prompt_is_told_before_anything_is_spent(tmp_path: Path) -> None:
    for source in (FOLDER / "plain").iterdir():
        if source.stem != "refine":
            (tmp_path / source.name).write_text(source.read_text())
    engine = ScriptedEngine(ATTEMPTS)
    with pytest.raises(MissingPrompt, match="refine"):
        decode(build("self_refine", {}), start(engine, pack=str(tmp_path)))
    assert engine.calls == 0

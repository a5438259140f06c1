from __future__ import annotations

import re

import pytest

from decoders import build
from decoders.core.errors import InvalidRequest
from decoders.core.events import Delta
from decoders.core.messages import Prompt
from server.engines.scripted import ScriptedEngine
from tests.decoders.support import decode, start
from tests.decoders.test_decoders import answer


def reply(prompt: Prompt, seed: int) -> str:
    return f"<think>secret{seed}</think>final{seed}"


def references(text: str) -> list[str]:
    return re.findall(r"final\d+", text)


def test_a_round_reads_the_final_parts_of_the_one_before_and_never_its_thinking() -> None:
    run = start(ScriptedEngine(reply))
    seen = decode(build("pacore", {"widths": [4, 2]}), run)
    steps = run.trace.steps
    assert [s.role for s in steps] == ["solve"] * 4 + ["coordinate"] * 3
    first, second = [s.completion.answer for s in steps[:4]], [s.completion.answer for s in steps[4:6]]
    assert sorted(references(steps[4].messages[0][1])) == sorted(first)
    assert steps[4].prompt == steps[5].prompt
    assert sorted(references(steps[6].messages[0][1])) == sorted(second)
    assert not any("secret" in s.messages[0][1] for s in steps)
    assert answer(seen).text == steps[6].completion.answer
    assert {e.key for e in seen if isinstance(e, Delta) and e.final} == {steps[6].key}


def test_the_references_are_shuffled_with_the_seed() -> None:
    def order(seed: int) -> list[int]:
        run = start(ScriptedEngine(reply), seed=seed)
        decode(build("pacore", {"widths": [8]}), run)
        names = [s.completion.answer for s in run.trace.steps[:8]]
        return [names.index(name) for name in references(run.trace.steps[-1].messages[0][1])]

    assert order(1) == order(1)
    assert len({tuple(order(seed)) for seed in range(4)}) > 1


@pytest.mark.parametrize(("widths", "calls"), [("low", 5), ("medium", 17), ("high", 37), ([3], 4)])
def test_presets_are_the_papers_widths(widths: object, calls: int) -> None:
    run = start(ScriptedEngine(reply))
    decode(build("pacore", {"widths": widths}), run)
    assert len(run.trace.steps) == calls


def test_widths_that_make_no_sense_are_refused() -> None:
    for widths in ([], [0], "most", [1.5]):
        with pytest.raises(InvalidRequest, match=r"decoder\.widths"):
            build("pacore", {"widths": widths})


def test_where_nobody_came_to_a_final_part_the_next_round_starts_from_the_problem() -> None:
    def thinks_on(prompt: Prompt, seed: int) -> str:
        return "<think>" + "w " * 500

    run = start(ScriptedEngine(thinks_on), 100)
    decode(build("pacore", {"widths": [4]}), run)
    assert [s.role for s in run.trace.steps] == ["solve"] * 5
    assert {s.sampling["max_tokens"] for s in run.trace.steps} == {20}


def test_the_last_answer_gives_way_to_an_earlier_one_where_it_was_cut() -> None:
    def cut_at_the_end(prompt: Prompt, seed: int) -> str:
        return "<think>" + "w " * 500 if "## Reference" in prompt.messages[-1].content else "\\boxed{4}"

    seen = decode(build("pacore", {"widths": [3]}), start(ScriptedEngine(cut_at_the_end), 300))
    assert answer(seen).text == "\\boxed{4}"


def test_a_small_purse_narrows_the_rounds_before_it_shortens_the_calls() -> None:
    def widths(tokens: int) -> tuple[int, int]:
        run = start(ScriptedEngine(lambda prompt, seed: "word " * 500), tokens)
        decode(build("pacore", {"widths": [16], "max_tokens": 100}), run)
        return len(run.trace.steps) - 1, run.trace.steps[0].sampling["max_tokens"]

    assert [widths(tokens) for tokens in (1700, 900, 300, 150)] == [(16, 100), (8, 100), (2, 100), (2, 50)]


def test_it_may_stop_once_rounds_agree() -> None:
    run = start(ScriptedEngine(["\\boxed{4}"]))
    decode(build("pacore", {"widths": [2, 2, 2, 2], "stop_when_stable": 2}), run)
    assert len(run.trace.steps) == 4

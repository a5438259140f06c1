from __future__ import annotations

import pytest

from decoders import build
from decoders.core.calls import derived_seed
from decoders.core.errors import MissingPrompt
from decoders.core.messages import Prompt
from server.engines.scripted import ScriptedEngine
from tests.decoders.support import Replies, decode, start
from tests.decoders.test_decoders import answer

FIRST = derived_seed(0, "0")
"""The seed of the first sample."""


def judge(samples: list[str], marks: dict[str, str]) -> Replies:
    """Samples in turn; a judge's reply is that of the mark whose key stands in the prompt."""

    def reply(prompt: Prompt, seed: int) -> str:
        asked = prompt.messages[-1].content
        if "Proposed solution" in asked:
            return next((said for key, said in marks.items() if key in asked), "no idea")
        return samples[seed - FIRST]

    return reply


def run_with(
    samples: list[str], marks: dict[str, str], tokens: int = 100_000, **options: object
) -> tuple[str, list[str]]:
    run = start(ScriptedEngine(judge(samples, marks)), tokens)
    text = answer(decode(build("weighted_vote", {"n": len(samples), **options}), run)).text
    return text, [step.role for step in run.trace.steps]


SAMPLES = ["a \\boxed{1}", "b \\boxed{1}", "c \\boxed{2}"]


def test_a_sample_that_the_judge_accepts_outweighs_two_that_it_rejects() -> None:
    text, roles = run_with(SAMPLES, {"c \\boxed": "Verdict: correct", "boxed": "Verdict: wrong"})
    assert text == SAMPLES[2]
    assert roles == ["solve"] * 3 + ["verify"] * 3


def test_marks_are_summed_or_averaged_by_answer() -> None:
    marks = {"a \\boxed": "Score: 0.4", "b \\boxed": "**Score:** .5", "c \\boxed": "Score: 0.8"}
    assert run_with(SAMPLES, marks, scoring="grade")[0] == SAMPLES[0]
    assert run_with(SAMPLES, marks, scoring="grade", aggregate="mean")[0] == SAMPLES[2]


def test_a_mark_out_of_range_or_missing_has_no_weight() -> None:
    marks = {"a \\boxed": "Score: 7", "b \\boxed": "I cannot say", "c \\boxed": "Score: 0.1"}
    assert run_with(SAMPLES, marks, scoring="grade")[0] == SAMPLES[2]


def test_without_any_weight_every_sample_has_one_vote() -> None:
    assert run_with(["c \\boxed{2}", *SAMPLES[:2]], {"boxed": "Verdict: wrong"})[0] == SAMPLES[0]


def test_nobody_is_judged_where_all_agree_and_equal_texts_are_judged_once() -> None:
    assert run_with(SAMPLES[:2], {})[1] == ["solve", "solve"]
    _, roles = run_with(["\\boxed{1}", "\\boxed{1}", "\\boxed{2}"], {"boxed": "Verdict: correct"}, verifications=2)
    assert roles == ["solve"] * 3 + ["verify"] * 4


def test_long_samples_leave_the_judge_its_share() -> None:
    samples = ["w " * 100 + f"\\boxed{{{i}}}" for i in range(2)]
    run = start(ScriptedEngine(judge(samples, {"boxed": "Verdict: correct"})), 240)
    decode(build("weighted_vote", {"n": 2, "max_tokens": 120}), run)
    assert all(step.sampling["max_tokens"] <= 90 for step in run.trace.steps)


def test_a_pack_without_the_judges_prompt_is_refused_before_anything_is_spent() -> None:
    engine = ScriptedEngine()
    with pytest.raises(MissingPrompt, match="tiny has no prompt 'grade'"):
        decode(build("weighted_vote", {"scoring": "grade"}), start(engine, pack="tiny"))
    assert engine.calls == 0

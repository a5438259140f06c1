from __future__ import annotations

import re

from decoders import build
from decoders.core.messages import Message, Prompt
from decoders.core.task import Task
from server.engines.scripted import ScriptedEngine
from tests.decoders.support import decode, start
from tests.decoders.test_decoders import answer


def improving(prompt: Prompt, seed: int) -> str:
    """Solutions have a quality; a refinement is one better; marks are 1 from quality 3 on, before that half or 0."""
    asked = prompt.messages[-1].content
    quality = [int(q) for q in re.findall(r"quality(\d)", asked)]
    if "proposed solution, cut into numbered steps" in asked:
        if quality[0] >= 3:
            return "Step 1: sound. Fine\nScore: 1"
        return f"Step 1: {'gap' if seed % 2 else 'wrong'}. flaw{seed}\nScore: {0.5 if seed % 2 else 0}"
    return f"quality{quality[0] + 1 if quality else seed % 2} by {seed}\n\n\\boxed{{4}}"


def test_the_best_are_refined_with_their_worst_verifications_until_one_is_perfect() -> None:
    run = start(ScriptedEngine(improving))
    seen = decode(build("proof_pool", {"n": 2, "rounds": 9, "verifications": 4, "shown_verifications": 2}), run)
    assert answer(seen).text.startswith("quality3")
    roles = [s.role for s in run.trace.steps]
    assert roles == (["solve"] * 2 + ["examine"] * 8 + (["refine"] * 2 + ["examine"] * 8) * (len(roles) // 10 - 1))
    first = next(s for s in run.trace.steps if s.role == "refine").messages[0][1]
    assert "[Step 1]\nquality" in first
    assert first.count("Score: 0\n") == 2
    assert "Score: 0.5" not in first


def test_of_equal_marks_the_one_with_more_objections_is_worse() -> None:
    said = ["Step 1: gap.\nScore: 0.5", "Step 1: gap.\n**Step 2:** Wrong - it is\nScore: 0.5", "no mark", "Score: 0.5"]

    def reply(prompt: Prompt, seed: int) -> str:
        asked = prompt.messages[-1].content
        return said[seed % 4] if "cut into numbered steps" in asked else f"\\boxed{{4}} {seed}"

    run = start(ScriptedEngine(reply))
    decode(build("proof_pool", {"n": 1, "rounds": 1, "shown_verifications": 1}), run)
    refined = next(s for s in run.trace.steps if s.role == "refine").messages[0][1]
    assert "**Step 2:** Wrong - it is" in refined
    assert "## Verification 2" not in refined


def test_the_highest_mean_is_returned_and_verifications_without_a_mark_do_not_count() -> None:
    def reply(prompt: Prompt, seed: int) -> str:
        asked = prompt.messages[-1].content
        if "cut into numbered steps" not in asked:
            return f"solution{seed % 4}"
        return "Score: 0.5" if "solution2" in asked and seed % 2 else "?" if "solution2" in asked else "Score: 0"

    run = start(ScriptedEngine(reply))
    assert answer(decode(build("proof_pool", {"n": 4, "rounds": 0}), run)).text == "solution2"


def test_a_text_that_is_in_the_pool_already_is_not_marked_again() -> None:
    run = start(ScriptedEngine(lambda prompt, seed: "Score: 0.5" if "numbered steps." in str(prompt) else "same"))
    decode(build("proof_pool", {"n": 3, "rounds": 2, "verifications": 2}), run)
    assert [s.role for s in run.trace.steps] == ["solve"] * 3 + ["examine"] * 2 + ["refine"] * 6


def test_while_there_is_no_solution_the_next_round_samples_again() -> None:
    engine = ScriptedEngine(lambda prompt, seed: "Score: 1" if "numbered" in str(prompt) else "\\boxed{4}")
    cut = ScriptedEngine(lambda prompt, seed: "word " * 50 if cut.calls == 1 else engine._reply(prompt, seed))
    run = start(cut)
    assert answer(decode(build("proof_pool", {"n": 2, "max_tokens": 20}), run)).text == "\\boxed{4}"
    assert [s.role for s in run.trace.steps][:4] == ["solve"] * 4


def test_a_round_never_spends_more_than_its_share_and_keeps_half_of_it_for_the_marks() -> None:
    run = start(ScriptedEngine(lambda prompt, seed: "step " * 5 if "cut into" not in str(prompt) else "w " * 500), 600)
    decode(build("proof_pool", {"n": 2, "rounds": 2, "verifications": 2}), run)
    spent = [s.completion.completion_tokens for s in run.trace.steps]
    assert [s.role for s in run.trace.steps].count("refine") == 4
    assert sum(spent[:4]) <= 200
    assert run.trace.steps[0].sampling["max_tokens"] == 50


def test_the_shipped_checkpoint_checks_and_goes_on_from_an_answer() -> None:
    def reply(prompt: Prompt, seed: int) -> str:
        return "no" if " . check : " in prompt.messages[0].content else "<think>try</think>8 + 5 = 13"

    run = start(ScriptedEngine(reply), pack="tiny")
    options = {"n": 1, "rounds": 1, "verifications": 1}
    decode(build("proof_pool", options), run, Task((Message("user", "Use 5 8 9 5 to make 18"),)))
    problem = "use 9 8 5 5 to make 18"
    assert [s.messages[0][1] for s in run.trace.steps] == [
        problem,
        f"{problem} . check : 8 + 5 = 13",
        f"{problem} . progress : answer 8 + 5 = 13",
    ]

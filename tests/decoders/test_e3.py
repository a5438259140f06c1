from __future__ import annotations

import pytest

from decoders import build
from decoders.core.events import Answer, Delta
from decoders.core.messages import Prompt
from decoders.core.run import Run
from server.engines.scripted import ScriptedEngine
from tests.decoders.support import decode, start

RIGHT, WRONG = "Verdict: correct", "It forgets a case.\nVerdict: wrong"


def roles(run: Run) -> list[str]:
    return [step.role for step in run.trace.steps]


def loop(replies: list[str], *, tokens: int = 100_000, **options: object) -> tuple[Answer, Run]:
    run = start(ScriptedEngine(replies), tokens)
    last = decode(build("e3", {"mode": "loop", **options}), run)[-1]
    assert isinstance(last, Answer)
    return last, run


def test_a_chain_is_one_completion_with_all_of_the_purse_streamed_as_the_answer() -> None:
    run = start(ScriptedEngine(["<think>try, check, correct</think>four"]), tokens=5000)
    seen = decode(build("e3", {}), run)
    assert roles(run) == ["solve"]
    assert run.trace.steps[0].sampling["max_tokens"] == 5000
    assert "".join(e.text for e in seen if isinstance(e, Delta) and e.final and e.channel == "answer") == "four"
    decode(build("e3", {"max_tokens": 70}), capped := start(ScriptedEngine(["four"])))
    assert capped.trace.steps[0].sampling["max_tokens"] == 70


def test_a_loop_refines_what_fails_and_ends_with_what_passes_in_a_row() -> None:
    last, run = loop(["<think>mine</think>5", WRONG, "4", RIGHT, RIGHT, "never asked"])
    assert roles(run) == ["solve", "verify", "refine", "verify", "verify"]
    assert (last.text, last.finish) == ("4", "stop")
    refine = run.trace.steps[2].messages[0][1]
    assert "What is 2 + 2?" in refine
    assert "forgets a case" in refine
    assert "## Proposed solution\n5\n" in refine
    assert "mine" not in refine


def test_a_failed_round_starts_the_row_of_passes_anew() -> None:
    last, run = loop(["5", RIGHT, WRONG, "4", RIGHT, RIGHT])
    assert roles(run) == ["solve", "verify", "verify", "refine", "verify", "verify"]
    assert last.text == "4"


def test_each_call_has_its_own_budget_and_a_round_its_verdicts() -> None:
    options = {"solve_tokens": 11, "verify_tokens": 12, "refine_tokens": 13, "verifications": 3, "rounds": 2}
    _, run = loop(["5", WRONG, "4", RIGHT], **options)
    assert [(s.role, s.sampling["max_tokens"]) for s in run.trace.steps] == [
        ("solve", 11),
        *[("verify", 12)] * 3,
        ("refine", 13),
        *[("verify", 12)] * 3,
    ]


@pytest.mark.parametrize(("accepting", "text"), [(1, "refined"), (2, "5")])
def test_more_than_half_of_the_verdicts_must_accept(accepting: int, text: str) -> None:
    def reply(prompt: Prompt, seed: int) -> str:
        asked = prompt.messages[-1].content
        if "Check the solution step by step" in asked:
            given.append(asked)
            return RIGHT if len(given) <= accepting else WRONG
        return "refined" if "objection" in asked else "5"

    given: list[str] = []
    run = start(ScriptedEngine(reply))
    options = {"mode": "loop", "verifications": 3, "passes": 1, "rounds": 2, "returned": "last"}
    last = decode(build("e3", options), run)[-1]
    assert isinstance(last, Answer)
    assert last.text == text


@pytest.mark.parametrize(("returned", "text"), [("verified", "first"), ("last", "third")])
def test_without_a_pass_the_best_verified_or_the_last_candidate_is_returned(returned: str, text: str) -> None:
    replies = ["first", RIGHT, WRONG, "second", WRONG, "third", WRONG]
    last, run = loop(replies, rounds=4, returned=returned)
    assert last.text == text
    assert roles(run)[-1] == "verify"


def test_a_candidate_that_was_cut_is_not_verified_but_finished() -> None:
    last, run = loop(["<think>" + "half way " * 9, "4", RIGHT], solve_tokens=5, passes=1)
    assert roles(run) == ["solve", "refine", "verify"]
    assert "half way" in run.trace.steps[1].messages[0][1]
    assert "breaks off" in run.trace.steps[1].messages[0][1]
    assert last.text == "4"


def test_an_empty_purse_gives_the_best_candidate_so_far() -> None:
    last, run = loop(["a b c d e", WRONG, "w " * 50], tokens=30)
    assert (last.text, last.finish) == ("a b c d e", "length")
    assert run.budget.spent == 30


def test_candidates_come_from_the_inner_decoder_and_verdicts_do_not() -> None:
    _, run = loop(["5", WRONG, "4", RIGHT], inner={"name": "direct"}, passes=1)
    assert [s.key for s in run.trace.steps if s.role == "verify"] == ["1.0", "3.0"]
    assert [s.key for s in run.trace.steps if s.role == "solve"] == ["0.0.0", "2.0.0"]


def test_a_loop_replays_without_the_engine() -> None:
    last, run = loop(["5", WRONG, "4", RIGHT, RIGHT])
    silent = ScriptedEngine(["nothing"])
    again = start(silent, recorded=run.trace.steps)
    assert decode(build("e3", {"mode": "loop"}), again)[-1] == last
    assert silent.calls == 0


def test_the_tiny_pack_refines_by_the_turn_that_follows_a_claim() -> None:
    pack = start(ScriptedEngine(), pack="tiny").pack()
    question, values = "Use 5 8 9 5 to make 18", {"draft": "<think> try", "verdicts": ["check no"]}
    claimed = pack.render("refine_by_verdicts", question, answer="9 + 8 = 17", **values)
    assert claimed == pack.render("reason", question, summary="answer 9 + 8 = 17")
    assert pack.render("refine_by_verdicts", question, answer="", **values) == pack.render("solve", question)

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

from decoders import build
from decoders.core.events import Answer
from decoders.core.messages import Prompt
from decoders.core.run import Run
from decoders.rlad import RLAD
from server.engines.scripted import ScriptedEngine
from tests.decoders.support import decode, start

NOTE = "note {}: count the pairs before the triples, then take away the double ones"


class Script:
    """Speaks by prompt: the n-th abstraction, the n-th solution under an abstraction, plain ones, verdicts on 7."""

    def __init__(
        self,
        abstractions: Callable[[int], str] = NOTE.format,
        under: Callable[[str, int], str] = lambda notes, place: "\\boxed{1}",
        plain: str = "\\boxed{0}",
    ) -> None:
        self.engine = ScriptedEngine(self._reply)
        self._abstractions, self._under, self._plain = abstractions, under, plain
        self._count: Counter[str] = Counter()

    def _reply(self, prompt: Prompt, seed: int) -> str:
        text = prompt.messages[-1].content
        if "Proposed solution" in text:
            return "Verdict: correct" if "\\boxed{7}" in text else "Verdict: wrong"
        if "Write notes" in text:
            self._count["abstract"] += 1
            return f"<think>hm</think>{self._abstractions(self._count['abstract'])}"
        if "## Notes" in text:
            notes = text.split("## Notes\n")[1].split("\n\n## Problem")[0]
            self._count[notes] += 1
            return self._under(notes, self._count[notes])
        return self._plain


def finished(script: Script, tokens: int = 100_000, **options: object) -> tuple[Answer, Run]:
    run = start(script.engine, tokens)
    last = decode(build("rlad", options), run)[-1]
    assert isinstance(last, Answer)
    return last, run


def calls(run: Run) -> Counter[str]:
    return Counter(step.role for step in run.trace.steps)


def notes(run: Run) -> Counter[str]:
    asked = [s.messages[-1][1] for s in run.trace.steps if "## Notes" in s.messages[-1][1]]
    return Counter(text.split("## Notes\n")[1].split("\n\n## Problem")[0] for text in asked)


def test_k_solutions_under_each_of_m_abstractions_beside_plain_ones() -> None:
    _, run = finished(Script(), abstractions=3, per_abstraction=2, plain=2)
    assert calls(run) == {"abstract": 3, "solve": 8}
    assert notes(run) == {NOTE.format(i): 2 for i in (1, 2, 3)}
    assert [s.messages[-1][1] for s in run.trace.steps].count("What is 2 + 2?") == 2


def test_abstractions_may_come_from_another_model_and_have_their_own_budget() -> None:
    options = {"abstractions": 1, "per_abstraction": 1, "abstraction_model": "scripted", "abstraction_tokens": 17}
    _, run = finished(Script(), **options, max_tokens=23)
    sizes = {(s.role, s.sampling["max_tokens"]) for s in run.trace.steps}
    assert sizes == {("abstract", 17), ("solve", 23)}


def test_solutions_share_the_purse_equally() -> None:
    options = {"abstractions": 2, "per_abstraction": 2, "plain": 1, "abstraction_tokens": 50, "least_tokens": 9}
    _, run = finished(Script(), 10_000, **options)
    assert {s.sampling["max_tokens"] for s in run.trace.steps if s.role == "solve"} == {(10_000 - 100) // 5}


def test_a_small_purse_has_fewer_abstractions_then_fewer_solutions_then_plain_ones_only() -> None:
    rlad = RLAD(abstractions=4, per_abstraction=3, plain=1, abstraction_tokens=10, least_tokens=100)
    assert rlad.plan(10_000) == (4, 3)
    assert rlad.plan(4 * 10 + 13 * 100) == (4, 3)
    assert rlad.plan(4 * 10 + 13 * 100 - 1) == (3, 3)
    assert rlad.plan(10 + 4 * 100) == (1, 3)
    assert rlad.plan(10 + 4 * 100 - 1) == (1, 2)
    assert rlad.plan(10 + 2 * 100) == (1, 1)
    assert rlad.plan(10 + 2 * 100 - 1) == (0, 0)
    assert RLAD(abstractions=0).plan(10**9) == (0, 0)


def test_a_purse_too_small_for_abstractions_is_spent_on_plain_solutions() -> None:
    last, run = finished(Script(), 500, plain=0)
    assert calls(run) == {"solve": 1}
    assert last.text == "\\boxed{0}"


@pytest.mark.parametrize(
    "bad", ["", "too short", "The result is \\boxed{12}, so look for a way to it that is long enough", NOTE.format(1)]
)
def test_what_is_dropped_leaves_its_solutions_to_the_others(bad: str) -> None:
    script = Script(lambda n: bad if n == 2 else NOTE.format(n))
    _, run = finished(script, abstractions=3, per_abstraction=2)
    assert notes(run) == {NOTE.format(1): 3, NOTE.format(3): 3}


def test_without_any_abstraction_left_all_solutions_are_plain() -> None:
    last, run = finished(Script(lambda n: "no"), abstractions=2, per_abstraction=3, plain=1)
    assert calls(run) == {"abstract": 2, "solve": 7}
    assert not notes(run)
    assert last.text == "\\boxed{0}"


def test_an_abstraction_that_says_what_plain_solutions_answer_leaks() -> None:
    script = Script(lambda n: f"{NOTE.format(n)} and get {'1240' if n == 1 else '12400'}", plain="\\boxed{1240}")
    _, run = finished(script, abstractions=2, per_abstraction=1)
    assert [text.endswith("12400") for text in notes(run).elements()] == [True, True]


def by_group(notes: str, place: int) -> str:
    """Three notes: the first group splits in 5 5 6, the second in 6 6 7, the third agrees on 8."""
    group = next(i for i in (1, 2, 3) if f"note {i}" in notes)
    return f"\\boxed{{{[(5, 5, 6), (6, 6, 7), (8, 8, 8)][group - 1][place - 1]}}}"


@pytest.mark.parametrize(
    ("selector", "text"), [("vote", "\\boxed{6}"), ("group", "\\boxed{8}"), ("verifier", "\\boxed{7}")]
)
def test_selectors(selector: str, text: str) -> None:
    options = {"abstractions": 3, "per_abstraction": 3, "plain": 1, "selector": selector, "verify_tokens": 9}
    last, run = finished(Script(under=by_group, plain="\\boxed{6}" if selector == "vote" else "\\boxed{0}"), **options)
    assert last.text == text
    assert calls(run)["verify"] == (5 if selector == "verifier" else 0)


def test_solutions_without_an_answer_have_no_vote_and_the_purse_keeps_what_there_is() -> None:
    script = Script(under=lambda notes, place: "<think>on and on", plain="\\boxed{0}")
    assert finished(script)[0].text == "\\boxed{0}"
    last, _ = finished(Script(plain="<think>on and on", under=lambda notes, place: "<think>and on"))
    assert last.text == ""


def test_rlad_over_rc_is_one_trace_and_replays() -> None:
    options = {"abstractions": 2, "per_abstraction": 1, "inner": {"name": "rc", "turns": 2}}
    last, run = finished(Script(), **options)
    assert calls(run) == {"abstract": 2, "reason": 2 * 3, "summarise": 3}
    silent = ScriptedEngine(["nothing"])
    again = start(silent, recorded=run.trace.steps)
    assert decode(build("rlad", options), again)[-1] == last
    assert silent.calls == 0

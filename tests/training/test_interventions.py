"""What is read of a proposal, where it is put, and how the policy is asked for one."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import tasks
from decoders.core.errors import MissingPrompt
from decoders.core.messages import Prompt, Sampling
from decoders.core.task import Model
from decoders.core.verification import PARAGRAPH
from decoders.prompts import Pack
from server.engines.scripted import ScriptedEngine
from training.interventions import Asked, Attempt, Intervention, parse
from training.play import POLICY, Play

(PROBLEM,) = tasks.problems("countdown", "easy", "train", 1)
THOUGHT = "<think>\nFirst I add.\nThat is 5.\n\nThen I double it.\n\n\nSo it is 11.\n</think>\n\nIt is 11."
REFERENCE = "Add, then square: \\boxed{25}"
LATEX = r'Take \frac{a}{b} with \nu and \theta, say "so" \\ and see'


def attempt(text: str = THOUGHT) -> Attempt:
    return Attempt(PROBLEM, text, REFERENCE, PARAGRAPH)


@pytest.mark.parametrize(
    ("said", "step"),
    [
        ('<intervention step="2">\nSquare it.\n</intervention>', 2),
        ("<intervention step=2>Square it.</intervention>", 2),
        ("<INTERVENTION Step: 'Step 2' >Square it.</Intervention>", 2),
        ('<intervention location="Substep 2">Square it.</intervention>', 2),
        (
            'Draft: <intervention step="1">No.</intervention> better\n<intervention step="2">Square it.</intervention>',
            2,
        ),
        (
            "Step 1: sound.\n**Substep 2**: wrong. No\nStep 3: wrong.\n<intervention>Square it.</intervention>",
            2,
        ),
        ('<intervention step="1">No. <intervention step="2">Square it.</intervention>', 2),
        ('<intervention step="0">Square it.</intervention>', 0),
        ("Step 1: gap.\n<intervention>Square it.</intervention>", 0),
    ],
)
def test_the_last_intervention_is_read_in_whatever_dress(said: str, step: int) -> None:
    assert parse(f"Step 1: sound.\n\n{said}\n") == Intervention(step, "Square it.")


@pytest.mark.parametrize(
    "said", ["", "I see no error.", '<intervention step="2">Square', '<intervention step="2"> \n </intervention>']
)
def test_without_a_whole_intervention_there_is_none(said: str) -> None:
    assert parse(said) is None


def test_words_need_no_escapes() -> None:
    assert parse(f'<intervention step="3">{LATEX}</intervention>') == Intervention(3, LATEX)


@given(st.text(max_size=80))
def test_any_text_is_read_without_an_error(said: str) -> None:
    found = parse(f"<intervention{said}")
    assert found is None or found.content.strip()


@pytest.mark.parametrize(
    ("step", "before"),
    [
        (1, "<think>\n"),
        (2, "<think>\nFirst I add.\nThat is 5.\n\n"),
        (3, "<think>\nFirst I add.\nThat is 5.\n\nThen I double it.\n\n\n"),
        (4, THOUGHT.removesuffix("It is 11.")),
    ],
)
def test_an_intervention_takes_the_place_of_its_step_and_of_all_behind_it(step: int, before: str) -> None:
    assert attempt().spliced(Intervention(step, "Square it.\nNow.")) == f"{before}Square it.\n\nNow."


@pytest.mark.parametrize("step", [-1, 0, 5, 999_999])
def test_there_is_no_place_for_a_step_that_the_attempt_lacks(step: int) -> None:
    assert attempt().spliced(Intervention(step, "Square it.")) is None
    assert attempt("").spliced(Intervention(1, "Square it.")) is None


class Student:
    """A policy that works a reference out and then intervenes; what it was asked is kept."""

    def __init__(self, pack: str = "plain", says: str = "Step 1: sound.\nStep 2: wrong.") -> None:
        self.asked, self.says = list[Prompt](), says
        self.engine = ScriptedEngine(self._reply, model=POLICY)
        self.play = Play({POLICY: Model(self.engine, Pack.load(pack))}, Sampling(max_tokens=1), 0, 0)

    def _reply(self, prompt: Prompt, seed: int) -> str:
        self.asked.append(prompt)
        if len(prompt.messages) == 1:
            return "<think> hm </think> I add and square."
        return "no" if seed % 2 else f"{self.says}\n<intervention>Square it {seed}.</intervention>"


def test_the_policy_works_the_reference_out_and_examines_the_numbered_steps() -> None:
    student = Student()
    found = asyncio.run(Asked(proposals=4, max_tokens=80)(attempt(), student.play))
    assert [(one.step, one.content.split()[:2]) for one in found] == [(2, ["Square", "it"])] * 2
    first, second = student.asked[0], student.asked[-1]
    assert REFERENCE in first.messages[0].content
    assert PROBLEM.question in first.messages[0].content
    assert [m.role for m in second.messages] == ["user", "assistant", "user"]
    assert second.messages[1].content == "I add and square."
    assert "[Step 2]\nThen I double it.\n\n[Step 3]\nSo it is 11." in second.messages[2].content
    assert [step.role for step in student.play.runs[0].trace.steps] == ["rework"] + ["intervene"] * 4


def test_a_pack_that_cannot_ask_says_so() -> None:
    with pytest.raises(MissingPrompt, match="rework"):
        asyncio.run(Asked(1, 8)(attempt(), Student("tiny").play))

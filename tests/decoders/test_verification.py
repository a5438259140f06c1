from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from decoders.core.verification import Check, begins, checks, faults, numbered, steps

SOLUTION = "Let n be odd.\nThen n = 2k + 1.\n\n  \nSo n² = 4k² + 4k + 1.\n\n\nDone.\n"


def test_a_solution_is_cut_at_blank_lines_and_numbered_from_one() -> None:
    parts = steps(SOLUTION)
    assert parts == ["Let n be odd.\nThen n = 2k + 1.", "So n² = 4k² + 4k + 1.", "Done."]
    assert numbered(parts).startswith("[Step 1]\nLet n be odd.\nThen")
    assert "\n\n[Step 3]\nDone." in numbered(parts)
    assert steps(" \n\n ") == []


def test_steps_begin_behind_the_mark_that_opens_the_thinking() -> None:
    reply = "<think>\nFirst.\n\nSecond.\n</think>\n\nThird.\n"
    assert [reply[place:].split()[0] for place in begins(reply)] == ["First.", "Second.", "Third."]
    assert steps(reply) == ["First.", "Second.\n</think>", "Third."]
    assert begins("<think>\n") == begins("  ") == []


def test_another_boundary_stands_before_a_step_or_behind_it() -> None:
    reply = "<think> try 1 : a ; b ; try 2"
    assert steps(reply, r";\s*|(?=\btry\b)") == ["try 1 : a ;", "b ;", "try 2"]
    assert steps(reply, r"(?=\btry\b)") == ["try 1 : a ; b ;", "try 2"]


def test_a_log_is_read_wherever_it_stands_in_whatever_dress() -> None:
    reply = """I looked at it.
Step 1: sound. It is what odd means
- **Step 2**: GAP - why is k whole?
substep 3: wrong
Step 4 is missing. Step 5: sound would be nice
Score: 0.5"""
    log = checks(reply)
    assert log == [
        Check(1, "sound", "It is what odd means"),
        Check(2, "gap", "why is k whole?"),
        Check(3, "wrong", ""),
    ]
    assert [check.step for check in faults(log)] == [2, 3]


def test_the_last_word_about_a_step_counts() -> None:
    assert checks("Step 2: wrong. No\nStep 1: sound.\nStep 2: sound. Yes after all") == [
        Check(1, "sound", ""),
        Check(2, "sound", "Yes after all"),
    ]


@given(st.text(max_size=300))
def test_any_text_is_read_without_an_error(text: str) -> None:
    assert all(check.step >= 0 for check in checks(text))
    assert [part for part in steps(text) if not part.strip()] == []


@given(st.text(alphabet="ab \n", max_size=40))
def test_a_text_is_cut_where_its_steps_begin(solution: str) -> None:
    places = begins(solution)
    assert len(places) == len(steps(solution))
    assert all(solution[place:].startswith(part) for place, part in zip(places, steps(solution), strict=True))

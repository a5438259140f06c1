from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decoders.prompts import Pack
from decoders.rewards import choice, exact, math

EXPLODING = (r"9^{9^{9^{9}}}", r"(10^{10})!", r"\sum_{k=1}^{10^{12}} \frac{1}{k^2}", r"2^{10^{12}}")


@pytest.fixture
def pool() -> Iterator[math.Pool]:
    made = math.Pool(workers=1, seconds=60.0)
    yield made
    made.close()


@pytest.mark.parametrize("reply", [r"so \boxed{12}", r"\boxed{1} no, \boxed{\frac{1}{2}}", "plain", r"\boxed{", ""])
def test_the_final_answer_is_what_votes_go_by(reply: str) -> None:
    assert exact.final(reply).split() == Pack.load("plain").extract(reply).split()


@pytest.mark.parametrize(
    ("a", "b", "equal"),
    [
        ("204", " 204 ", True),
        ("007", "7", True),
        ("$7$.", "7", True),
        (r"\dfrac{1}{2}", r"\frac{1} {2}", True),
        ("3 4", "34", False),
        ("north  east", "north east", True),
        ("x", "X", False),
        ("-7", "7", False),
        ("1/2", "0.5", False),
    ],
)
def test_texts_are_the_same_but_for_their_looks(a: str, b: str, equal: bool) -> None:
    assert exact.same(a, b) is exact.same(b, a) is equal


@given(st.integers(-(10**30), 10**30), st.integers(-(10**30), 10**30))
def test_whole_numbers_are_compared_by_value(a: int, b: int) -> None:
    assert math.check(f"{a:+}", rf"it is \boxed{{{b}}}") is (a == b)


@pytest.mark.parametrize(
    ("right", "reply", "equal"),
    [
        (r"\frac{1}{2}", r"\boxed{0.5}", True),
        (r"\frac{1}{2}", r"which is $\frac{2}{4}$.", True),
        (r"2\sqrt{3}", r"\boxed{\sqrt{12}}", True),
        (r"2\sqrt{3}", r"\boxed{\sqrt{11}}", False),
        (r"\{1, 2\}", r"\boxed{\{2,1\}}", True),
        (r"(1, 2)", r"\boxed{(2, 1)}", False),
        (r"\text{even}", r"\boxed{odd}", False),
        (r"\frac{\sqrt{\frac{1}{2}}}{3}", r"\boxed{\frac{\sqrt{\frac{2}{4}}}{3}}", True),
        ("7", "I cannot say.", False),
        ("7", "", False),
    ],
)
def test_mathematical_answers_are_compared_by_value(right: str, reply: str, equal: bool) -> None:
    pytest.importorskip("math_verify", reason="pip install 'longthink[math]'")
    assert math.check(right, reply) is equal


@pytest.mark.parametrize("hostile", EXPLODING)
def test_what_makes_algebra_explode_is_wrong_and_over_at_the_deadline(hostile: str) -> None:
    pytest.importorskip("math_verify", reason="pip install 'longthink[math]'")
    worker = math.Worker()
    assert not worker.equal("7", rf"\boxed{{{hostile}}}", 0.3)
    assert not worker.alive
    assert worker._process.returncode == -signal.SIGALRM  # by itself: it needs nobody who waits


def test_a_worker_that_died_is_replaced(pool: math.Pool) -> None:
    pytest.importorskip("math_verify", reason="pip install 'longthink[math]'")
    worker = math.Worker()
    pool._idle.get()
    pool._idle.put(worker)
    worker._process.kill()
    worker._process.wait()
    assert not pool.equal("7", r"\boxed{3 + 4}")
    assert pool.equal("7", r"\boxed{3 + 4}")
    assert not worker.alive


def test_a_hostile_answer_cannot_take_the_memory_of_the_machine() -> None:
    pytest.importorskip("math_verify", reason="pip install 'longthink[math]'")
    resource = pytest.importorskip("resource", reason="limits are a matter of POSIX")
    worker = math.Worker()
    try:
        soft, hard = resource.prlimit(worker._process.pid, resource.RLIMIT_AS)
        assert 0 < soft == hard < 4 << 30
    finally:
        worker.close()


def test_threads_share_the_workers(pool: math.Pool) -> None:
    pytest.importorskip("math_verify", reason="pip install 'longthink[math]'")
    pairs = [(str(i), rf"\boxed{{{i % 3} + 0}}") for i in range(12)]
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda pair: pool.equal(*pair), pairs))
    assert found == [i < 3 for i in range(12)]


def test_workers_end_with_their_pool() -> None:
    pytest.importorskip("math_verify", reason="pip install 'longthink[math]'")
    pool = math.Pool(workers=1)
    assert pool.equal("7", r"\boxed{3 + 4}")
    worker = pool._idle.get()
    assert worker is not None
    pool._idle.put(worker)
    pool.close()
    with pytest.raises(ProcessLookupError):
        os.kill(worker._process.pid, 0)


@pytest.mark.parametrize(("zeros", "right"), [(20, True), (math.LONGEST, False)])
def test_what_is_too_long_for_an_answer_is_wrong(zeros: int, right: bool) -> None:
    pytest.importorskip("math_verify", reason="pip install 'longthink[math]'")
    assert math.check("7", rf"\boxed{{7{'+0' * zeros}}}") is right


@pytest.mark.parametrize(
    ("reply", "letter"),
    [
        (r"\boxed{B}", "B"),
        (r"\boxed{\text{(b)}}", "B"),
        (r"\boxed{B) 3 metres}", "B"),
        ("It is A.\nAnswer: (B)", "B"),
        ("**Answer:** B", "B"),
        ("(B)", "B"),
        (r"Answer: A. No: \boxed{B}", "B"),
        ("Bananas", None),
        (r"\boxed{12}", None),
        ("", None),
        ("A or B, I cannot say", None),
    ],
)
def test_the_letter_is_found_in_the_forms_that_are_asked_for(reply: str, letter: str | None) -> None:
    assert choice.letter(reply) == letter
    assert choice.check("B", reply) is (letter == "B")

"""Runs recorded with their steps, over HTTP from a real server whose model is scripted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.__main__ import main
from benchmarks.anytime import recorded
from benchmarks.rows import Row, read
from decoders.core.messages import Prompt
from server.engines.scripted import ScriptedEngine
from tests.benchmarks.conftest import solve
from tests.server.conftest import Live, logging_stays, serving

__all__ = ["logging_stays"]

PROBLEMS = 8


def speak(prompt: Prompt, seed: int) -> str:
    """Thinks for 5 to 9 words; one time in three the answer is right, else it is wrong or never comes."""
    text = prompt.messages[-1].content
    if "## Current attempt" in text:
        return "nothing yet"
    question = text[text.index("Use ") :].splitlines()[0]
    return f"<think>{'hm ' * (5 + seed % 5)}</think>" + (
        solve(question) if seed % 3 == 0 else "1 + 1 = 3" if seed % 3 == 1 else ""
    )


@pytest.fixture(scope="module")
def live() -> Iterator[Live]:
    with serving(base=ScriptedEngine(speak, model="base")) as running:
        yield running


def bench(live: Live, output: Path, *more: str) -> int:
    given = ["--url", f"{live.url}/v1", "--model", "base", "--level", "easy", "--problems", str(PROBLEMS)]
    return main(["accuracy", *given, "--output", str(output), *more])


def by_problem(file: Path, **wanted: object) -> dict[str, Row]:
    found = [row for row in read(file) if all(getattr(row, name) == value for name, value in wanted.items())]
    return {row.problem: row for row in found}


def test_a_run_with_steps_ends_as_one_without(live: Live, tmp_path: Path) -> None:
    with_steps, without = tmp_path / "steps.jsonl", tmp_path / "plain.jsonl"
    for decoder in (("rc", "--turns", "4"), ("self_consistency", "--n", "4")):
        assert bench(live, with_steps, "--decoder", *decoder, "--steps") == 0
        assert bench(live, without, "--decoder", *decoder) == 0
    kept = {row.id: row for row in read(with_steps)}
    assert len(kept) == 2 * PROBLEMS
    for row in read(without):
        own = kept[row.id]
        assert (own.answer, own.correct, own.completion_tokens) == (row.answer, row.correct, row.completion_tokens)
        assert row.steps is None
        assert sum(step.tokens for step in own.steps or ()) == own.completion_tokens
        assert own.prompt_tokens == row.prompt_tokens > 0
    turns = by_problem(with_steps, decoder="rc")
    assert {step.kind for row in turns.values() for step in row.steps or ()} == {"turn", "summary"}
    assert {row.correct for row in turns.values()} == {True, False}


def test_cut_back_is_what_runs_that_are_told_the_budget_answer(
    live: Live, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """RC plans nothing by its budget, so that both must agree problem by problem."""
    file, picture = tmp_path / "rc.jsonl", tmp_path / "rc.svg"
    assert bench(live, file, "--decoder", "rc", "--turns", "4", "--steps") == 0
    assert bench(live, file, "--decoder", "rc", "--turns", "4", "--budget", "25,50,75") == 0
    runs = recorded(list(by_problem(file, max_completion_tokens=None).values()))
    assert runs.agreement == 1.0
    solved = set()
    for budget in (25, 50, 75):
        told = by_problem(file, max_completion_tokens=budget)
        assert {p: row.correct for p, row in told.items()} == {p: t.at(budget) for p, t in runs.tracks.items()}
        solved.add(sum(row.correct for row in told.values()))
    assert len(solved) > 1
    capsys.readouterr()
    assert main(["cutback", str(file), "--budgets", "60", "--picture", str(picture)]) == 0
    shown = capsys.readouterr().out
    lines = [line.split(" | ") for line in shown.splitlines() if line.startswith("| ")][2:]
    assert [line[0] for line in lines] == ["| 25", "| 50", "| 60", "| 75", "| whole runs"]
    assert [line[5] for line in lines] == ["0 : 0", "0 : 0", "", "0 : 0", ""]
    assert f"**rc turns=4**, {PROBLEMS} problems" in shown
    assert "<svg" in picture.read_text()
    assert main(["regret", str(file), "--recorded", "--budgets", "60", "--resamples", "20"]) == 0
    share = sum(track.share(60) for track in runs.tracks.values()) / PROBLEMS
    assert f"| rc axis=turns: rc turns=4 | {1 - share:.3f} (" in capsys.readouterr().out


def test_rows_without_steps_are_asked_again_when_steps_are_wanted(
    live: Live, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "a.jsonl"
    assert bench(live, file, "--decoder", "direct") == 0
    assert main(["cutback", str(file)]) == 2
    assert "measure with --steps" in capsys.readouterr().err
    calls = live.engine.calls
    assert bench(live, file, "--decoder", "direct", "--steps") == 0
    assert live.engine.calls == calls + PROBLEMS
    assert bench(live, file, "--decoder", "direct", "--steps") == 0
    assert live.engine.calls == calls + PROBLEMS
    assert main(["cutback", str(file)]) == 0


def test_a_run_that_is_refused_or_fails_says_why(
    live: Live, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench(live, tmp_path / "a.jsonl", "--decoder", "tti", "--steps", "--problems", "1") == 1
    assert "the decoder tti needs an environment or tools" in capsys.readouterr().err

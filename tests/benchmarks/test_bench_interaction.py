from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.__main__ import main
from benchmarks.rows import read
from benchmarks.tasks import load
from benchmarks.tasks.site import LEVELS, problems
from decoders.environments.site import Site, Walker, play, split_of
from tests.benchmarks.conftest import FakeEndpoint


def agent(number: int, body: dict[str, Any]) -> tuple[int, dict[str, str], str]:
    """An endpoint whose model is the eager walker."""
    site = Site(**body["environment"]["reset"])
    options = body["decoder"]
    assert (body["environment"]["name"], options["name"]) == ("site", "tti")
    assert body["messages"] == [{"role": "user", "content": site.goal}]
    played = play(site, Walker(site.goal, eager=True), options["max_steps"], options["min_answers"])
    report = {"steps": played.steps, "stopped": played.stopped, "reward": played.reward}
    reply = {
        "choices": [{"message": {"content": played.answer}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 9, "completion_tokens": 3 * (played.steps + 1)},
        "longthink": {"interaction": report},
    }
    return 200, {"content-type": "application/json"}, json.dumps(reply)


def run(output: Path, *more: str) -> int:
    budgets = ("--max-steps", "2,8,32", "--min-answers", "1,2", "--problems", "20", "--level", "2-find")
    return main(["interaction", "--output", str(output), *budgets, *more])


def test_levels_name_sites_of_their_split_and_more_begin_with_the_same() -> None:
    assert load("site").LEVELS == LEVELS
    for level in LEVELS:
        found = problems(level, "test", 12)
        assert [p.id for p in found[:5]] == [p.id for p in problems(level, "test", 5)]
        assert len({p.id for p in found}) == 12
        assert {split_of(p.site.seed) for p in found} == {"test"}
        assert all(p.id.startswith(level.removesuffix("-open")) for p in found)
        assert {p.site.open_book for p in found} == {level.endswith("-open")}
    assert {p.id for p in problems("2-find", "test", 20)}.isdisjoint(p.id for p in problems("2-find", "test", 20, 1))


def test_an_answer_counts_bare_or_as_the_action_that_gives_it() -> None:
    problem = problems("2-find", "test", 1)[0]
    code = problem.site.wanted.code
    assert all(problem.check(text) for text in (code, f"answer {code}", f" Answer {code} ", code.replace(" ", "")))
    assert not any(problem.check(text) for text in ("", "answer", "answer none", code + " 1"))


def test_an_endpoint_and_the_walker_behind_it_get_the_same_figures(
    endpoint: FakeEndpoint, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    endpoint.fail = agent
    picture = tmp_path / "picture.svg"
    assert run(tmp_path / "asked.jsonl", "--url", endpoint.url, "--model", "m", "--picture", str(picture)) == 0
    asked = capsys.readouterr().out
    assert run(tmp_path / "walked.jsonl", "--policy", "eager") == 0
    walked = capsys.readouterr().out
    lines = [line for line in asked.splitlines() if line.startswith("| min_answers")]
    assert len(lines) == 2
    assert lines == [line for line in walked.splitlines() if line.startswith("| min_answers")]
    assert "<svg" in picture.read_text()
    rows = read(tmp_path / "asked.jsonl")
    assert len(rows) == 3 * 2 * 20
    assert all(row.correct == (row.interaction["reward"] == 1) for row in rows)  # type: ignore[index, call-overload]


def test_what_is_finished_is_not_asked_again(endpoint: FakeEndpoint, tmp_path: Path) -> None:
    endpoint.fail = agent
    for _ in range(2):
        assert run(tmp_path / "rows.jsonl", "--url", endpoint.url) == 0
        assert len(endpoint.requests) == 3 * 2 * 20


def test_failed_episodes_are_no_wrong_answers(endpoint: FakeEndpoint, tmp_path: Path) -> None:
    endpoint.fail = lambda number, body: (500, {}, "broken") if number % 4 == 0 else agent(number, body)
    assert run(tmp_path / "rows.jsonl", "--url", endpoint.url) == 1
    rows = read(tmp_path / "rows.jsonl")
    assert 0 < sum(row.error is not None for row in rows) == len(rows) // 4


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (("--level", "9-find"), "no level '9-find'"),
        (("--set", "max_steps=3"), "max_steps is swept"),
        (("--max-steps", "x"), "invalid literal"),
    ],
)
def test_wrong_usage_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], wrong: tuple[str, str], message: str
) -> None:
    assert run(tmp_path / "rows.jsonl", "--policy", "eager", *wrong) == 2
    assert message in capsys.readouterr().err

"""A scorer from a file, served beside the model whose answers it judges."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from decoders.rewards.features import NAMES
from decoders.rewards.scorer import Scorer
from server.engines import open_engines
from server.engines.scripted import ScriptedEngine
from server.model_options import ModelOptions
from tests.server.support import client_of

QUESTION = "Use 9 8 5 to make 22"
RIGHT, WRONG, WORSE = "9 + 8 = 17, 17 + 5 = 22", "9 + 5 = 14, 14 + 8 = 21", "no idea"
WEIGHTS = dict.fromkeys(NAMES, 0.0) | {"true": 2.0, "reached": 2.0}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Likes equations that hold and end in the target."""
    Scorer(bias=-2.0, weights=WEIGHTS, public=1, privacy=None).write(tmp_path / "judge.json")
    return tmp_path / "judge.json"


def ask(file: Path, replies: Sequence[str], **body: Any) -> tuple[httpx.Response, int]:
    """The response, and how often the solver was called."""

    async def asked() -> tuple[httpx.Response, int]:
        solver = ScriptedEngine(lambda prompt, seed: replies[seed % len(replies)], model="solver")
        judges = await open_engines(ModelOptions(engine="scorer", model=str(file)))
        async with client_of({"solver": solver, **judges}) as client:
            said = {"model": "solver", "messages": [{"role": "user", "content": QUESTION}], "seed": 3, **body}
            return await client.post("/v1/chat/completions", json=said), solver.calls

    return asyncio.run(asked())


@pytest.mark.parametrize(
    "decoder",
    [
        {"name": "best_of_n", "n": 9, "verify_model": "judge"},
        {"name": "weighted_vote", "n": 9, "judge_model": "judge"},
        {"name": "weighted_vote", "n": 9, "judge_model": "judge", "scoring": "grade", "aggregate": "mean"},
        {"name": "rsa", "population": 9, "rounds": 1, "choose": "verified", "verify_model": "judge"},
    ],
)
def test_decoders_choose_by_the_scorer(file: Path, decoder: dict[str, Any]) -> None:
    response, _ = ask(file, [WORSE, WRONG, RIGHT], decoder=decoder)
    assert response.status_code == 200, response.text
    assert response.json()["choices"][0]["message"]["content"] == RIGHT


def test_it_is_the_scorer_that_chooses(file: Path) -> None:
    """With opposite weights the choice is the opposite."""
    Scorer(bias=2.0, weights={name: -w for name, w in WEIGHTS.items()}, public=1, privacy=None).write(file)
    response, calls = ask(file, [WRONG, RIGHT, WORSE], decoder={"name": "best_of_n", "n": 9, "verify_model": "judge"})
    told = response.json()
    assert told["choices"][0]["message"]["content"] == WORSE
    assert calls == 1
    assert told["longthink"]["by_role"]["verify"] == 3, "a token for each different answer"


def test_marks_and_not_verdicts_decide(file: Path) -> None:
    """All of them are above one half."""
    Scorer(bias=5.0, weights=WEIGHTS, public=1, privacy=None).write(file)
    response, _ = ask(file, [WRONG, WORSE, RIGHT], decoder={"name": "best_of_n", "n": 9, "verify_model": "judge"})
    assert response.json()["choices"][0]["message"]["content"] == RIGHT


def test_an_answer_format_that_the_request_wants_is_nothing_to_a_scorer(file: Path) -> None:
    decoder = {"name": "best_of_n", "n": 9, "verify_model": "judge"}
    response, _ = ask(file, [WRONG, RIGHT], decoder=decoder, answer_format="text")
    assert response.json()["choices"][0]["message"]["content"] == RIGHT


def test_a_scorer_asked_for_an_answer_says_that_it_has_none(file: Path) -> None:
    response, _ = ask(file, [RIGHT], model="judge")
    assert response.status_code == 400
    assert "scorer" in response.json()["error"]["message"]


@pytest.mark.parametrize("text", [None, "{}"])
def test_a_file_that_is_no_scorer_stops_the_start(file: Path, text: str | None) -> None:
    if text is not None:
        file.write_text(text)
    options = ModelOptions(engine="scorer", model=None if text is None else str(file))
    with pytest.raises(ValueError, match="scorer"):
        asyncio.run(open_engines(options))

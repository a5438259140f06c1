"""Turns with summaries on residues: the words are true, and how often a summary is heeded is what was asked for."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest
import torch

from benchmarks.tasks.residues import Problem
from decoders.core.thinking import split
from decoders.prompts import Pack
from training import tiny
from training.recipes.turns_sft import VOCABULARY_SIZE, Config, batches, train
from training.teachers.residues import TURN_WORDS, TurnRows, sweep
from training.teachers.rows import Row

PACK = Pack.load("turns")
PROBLEM = Problem(20, ((7, 3), (5, 2)))  # 17


@pytest.mark.parametrize(
    ("first", "limit", "words", "wrong"),
    [
        (9, 99, "try 9 7 2 no try 10 7 3 ok 5 0 no try 11", 16),
        (9, 14, "try 9 7 2 no try 10 7 3 ok 5 0 no", 10),
        (9, 13, "try 9 7 2 no try 10 7 3 ok 5 0", 9),
        (9, 8, "try 9 7 2 no try 10", 9),
        (17, 99, "try 17 7 3 ok 5 2 ok yes </think> 17", 16),
        (16, 9, "try 16 7 2 no try 17 7", 16),
    ],
)
def test_a_turn_ends_at_its_limit_and_knows_what_it_has_ruled_out(
    first: int, limit: int, words: str, wrong: int
) -> None:
    found, ruled_out = sweep(PROBLEM, first, limit)
    assert " ".join(found).startswith(f"<think> {words}")
    assert len(found) <= limit
    assert ruled_out == wrong


def told(row: Row) -> int:
    """The number of the summary that a turn was given, 0 for none."""
    _, _, number = row.messages[0].content.partition("up to ")
    return int(number or 0)


@pytest.mark.parametrize("heeded", [0.0, 0.25, 1.0])
def test_a_summary_is_heeded_as_often_as_wished(heeded: float) -> None:
    rows = TurnRows(PACK, 3, 112, heeded)
    given = [row for row in (rows.turn() for _ in range(800)) if told(row)]
    going_on = sum(row.messages[1].content.split()[2] == str(told(row) + 1) for row in given)
    assert abs(going_on / len(given) - heeded) < 0.06
    assert len(given) > 250


def test_a_hint_is_always_followed() -> None:
    rows = TurnRows(PACK, 4, 60, 0.25)
    for row in (rows.hinted() for _ in range(50)):
        wanted = row.messages[0].content.rpartition("from ")[2]
        assert row.messages[1].content.startswith(f"<think> try {wanted} ")


def test_every_word_is_one_token() -> None:
    rows, words = TurnRows(PACK, 5, 60, 0.25), tiny.tokenizer(TURN_WORDS, VOCABULARY_SIZE)
    for row in [*(rows.turn() for _ in range(200)), *(rows.hinted() for _ in range(50))]:
        text = " ".join(message.content.replace(",", " ,") for message in row.messages)
        ids = words.encode(text)
        assert words.unk_token_id not in ids
        assert len(ids) == len(text.split())


def test_summaries_are_right_and_never_fall_back() -> None:
    rows = TurnRows(PACK, 5, 60, 0.25)
    for row in (rows.turn() for _ in range(200)):
        turn, summary = row.messages[1].content, int(row.messages[-1].content.removeprefix("up to "))
        assert summary >= told(row)
        assert row.cut == (not split(turn)[1])


def test_the_recipe_writes_a_checkpoint_that_rc_can_decode_with(tmp_path: Path) -> None:
    (step,) = islice(batches(Config(turns=4, hinted=2)), 1)
    assert [(batch.kind, len(batch.ids)) for batch in step] == [("turn", 2)] * 2 + [("hinted", 1)] * 2
    folder = train(Config(steps=2, turns=2, hinted=2, output=tmp_path / "a", width=32, layers=1))
    torch.use_deterministic_algorithms(False)
    assert '"turns"' in (folder / "longthink.json").read_text()
    Pack.load("turns").require("reason", "summarise")

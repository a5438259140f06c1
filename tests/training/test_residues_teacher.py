"""What the expert shows must be true but for its giving up, and every word must be one token."""

from __future__ import annotations

import random
from collections import Counter
from itertools import islice, pairwise
from pathlib import Path

import pytest
import torch

from benchmarks.tasks.residues import LEVELS, Problem, problems
from decoders.core.thinking import split
from decoders.prompts import Pack
from training import tiny
from training.recipes.residues_sft import VOCABULARY_SIZE, Config, batches, train
from training.residue_skills import audit, main
from training.supervised import Encoder
from training.teachers.residues import WORDS, Habits, ResidueRows, attempt, chain

PACK = Pack.load("residues")


def test_an_attempt_checks_up_to_the_first_remainder_that_is_wrong() -> None:
    problem = Problem(20, ((7, 3), (5, 2)))
    assert attempt(problem, 17) == "try 17 7 3 ok 5 2 ok yes".split()
    assert attempt(problem, 10) == "try 10 7 3 ok 5 0 no".split()
    assert attempt(problem, 9) == "try 9 7 2 no".split()


def test_an_expert_that_never_gives_up_finds_the_solution() -> None:
    for problem in problems("hard", "dev", 30):
        words = chain(problem, random.Random(problem.id), give_up=0.0)
        assert words.count("yes") == 1
        assert problem.check(split(" ".join(words))[1])


def test_an_expert_with_habits_tries_fitting_numbers_and_the_same_ones_again() -> None:
    problem = Problem(60, ((9, 4), (8, 1), (5, 4)))
    whole = [chain(problem, random.Random(seed), 0.0, Habits(fitting=0.4, rambling=0.3)) for seed in range(200)]
    tried = [[int(words[i + 1]) for i, word in enumerate(words) if word == "try"] for words in whole]
    pairs = [pair for numbers in tried for pair in pairwise(numbers)]
    assert sum(a == b for a, b in pairs) / len(pairs) == pytest.approx(0.3, abs=0.05)
    new = [b for a, b in pairs if a != b]
    assert sum(number % 9 == 4 for number in new) / len(new) == pytest.approx(0.4 + 0.6 * 7 / 60, abs=0.06)
    assert all(words[-1] == "49" for words in whole)
    assert min(new) >= 1
    assert max(new) <= 60
    shown = ResidueRows(PACK, 5, {"hard": 1.0}, Habits(rambling=1.0)).short(0.1).messages[-1].content.split()
    assert len({shown[i + 1] for i, word in enumerate(shown[:-1]) if word == "try"}) == 1 < shown.count("try")


def test_an_expert_that_gives_up_is_mostly_wrong_and_its_chains_are_short() -> None:
    found = problems("hard", "dev", 100)
    chains = [chain(problem, random.Random(problem.id), give_up=0.25) for problem in found]
    right = sum(p.check(split(" ".join(words))[1]) for p, words in zip(found, chains, strict=True))
    assert right < 25
    assert 15 < sum(map(len, chains)) / 100 < 40


def test_no_held_out_problem_is_trained_on_and_every_word_is_one_token() -> None:
    rows, words = ResidueRows(PACK, 5), tiny.tokenizer(WORDS, VOCABULARY_SIZE)
    assert all(rows.problem().split == "train" for _ in range(300))
    for row in [*(rows.short(0.25) for _ in range(60)), *(rows.long(100) for _ in range(20))]:
        text = " ".join(message.content.replace(",", " ,") for message in row.messages)
        ids = words.encode(text)
        assert words.unk_token_id not in ids
        assert len(ids) == len(text.split())


def test_long_chains_teach_checks_but_not_to_go_on_and_a_cut_is_not_an_end() -> None:
    rows = ResidueRows(PACK, 5, {"hard": 1.0})
    row = next(row for _ in range(20) if (row := rows.long(20)).cut)
    words = tiny.tokenizer(WORDS, VOCABULARY_SIZE)
    ids, weights = Encoder(words, {"try": 0.0, tiny.END_THINK: 0.0}).row(row)
    trained = words.decode([i for i, w in zip(ids, weights, strict=True) if w]).split()
    assert "no" in trained
    assert not {"try", tiny.END_THINK, tiny.CLOSE} & set(trained)


def test_a_batch_holds_both_kinds() -> None:
    step = next(islice(batches(Config(short=4, long=2, longest=40)), 1))
    assert [(batch.kind, len(batch.ids)) for batch in step] == [("short", 2)] * 2 + [("long", 1)] * 2


def test_the_recipe_writes_a_checkpoint_with_its_pack(tmp_path: Path) -> None:
    folder = train(Config(steps=2, short=2, long=1, longest=30, output=tmp_path / "a", width=32, layers=1))
    torch.use_deterministic_algorithms(False)
    assert '"residues"' in (folder / "longthink.json").read_text()
    assert set(LEVELS) == {"easy", "medium", "hard"}


def test_the_audit_of_a_chain_judges_every_word_by_arithmetic() -> None:
    problem = Problem(20, ((7, 3), (5, 2)))
    right = audit(problem, "<think> try 9 7 2 no try 9 7 2 no try 17 7 3 ok 5 2 ok yes </think> 17")
    assert right == Counter(
        {
            "tokens": 22,
            "attempts": 3,
            "repeated": 1,
            "fitting": 1,
            "checks": 4,
            "remainders right": 4,
            "verdicts right": 4,
        }
        | {"found": 1, "right": 1, "false finds": 0, "gave up": 0}
    )
    wrong = audit(problem, "<think> try 9 7 3 ok 5 4 ok yes </think> 9")
    assert (wrong["checks"], wrong["remainders right"], wrong["verdicts right"]) == (2, 1, 1)
    assert (wrong["found"], wrong["false finds"]) == (1, 1)
    assert audit(problem, "<think> try 9 7 2 no </think> 3")["gave up"] == 1
    assert audit(problem, "<think> try 9 7 2 no try 8 7")["gave up"] == 0


def test_the_table_of_skills_has_a_line_for_each_level(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = train(Config(steps=1, short=2, long=1, longest=20, output=tmp_path / "a", width=32, layers=1))
    torch.use_deterministic_algorithms(False)
    assert main(["--model", str(folder), "--tokens", "6", "--problems", "3"]) == 0
    lines = capsys.readouterr().out.splitlines()[-3:]
    assert [line.split(" | ")[0] for line in lines] == [f"| {level}" for level in LEVELS]

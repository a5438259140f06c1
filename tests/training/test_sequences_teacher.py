"""The expert of sequences must say what it means: its solutions follow from its abstractions, and few of these fit."""

from __future__ import annotations

import random

from benchmarks.tasks.sequences import KINDS, LEVELS, Problem, Rule, fitting, named, random_problem
from decoders.prompts import Pack
from training import tiny
from training.recipes.sequences_sft import Config, batches
from training.supervised import Encoder
from training.teachers.sequences import WORDS, SequenceRows, guesses, say, solution

PACK = Pack.load("sequences")


def test_an_abstraction_says_a_kind_and_its_next_steps() -> None:
    assert say(Rule("triple", (8, -9, 0))) == "triple + 8 - 9 + 0"
    assert solution(named("2-5-8-11-14-17"), Rule("grow", (-5, -10))) == "12 2 x"


def test_guesses_hold_at_the_end_of_a_sequence_and_seldom_for_all_of_it() -> None:
    rng = random.Random(2)
    fits = total = 0
    for _ in range(200):
        problem = random_problem(rng, LEVELS["hard"])
        rules = guesses(problem)
        assert set(fitting(problem.numbers)) <= set(rules)
        assert len({rule.kind for rule in rules}) == len(rules)
        fits, total = fits + sum(problem.check(solution(problem, rule)) for rule in rules), total + len(rules)
    assert 0.1 < fits / total < 0.35


def test_rows_are_the_prompts_of_the_pack_and_never_of_held_out_problems() -> None:
    rows = SequenceRows(PACK, 3, 0.5)
    for draw in (rows.abstract, rows.guided, rows.bare):
        for _ in range(100):
            question = draw().messages[0].content
            numbers = tuple(int(word) for word in question.split(" . ")[0].split()[1:])
            assert Problem(numbers, ()).split == "train"
    asked, reply = rows.guided().messages
    problem, said = asked.content.split(" . hint : ")
    rules = {say(rule): rule for rule in guesses(named("-".join(problem.split()[1:])))}
    assert reply.content == solution(named("-".join(problem.split()[1:])), rules[said])


def test_insight_is_the_share_of_abstractions_that_fit() -> None:
    def share(insight: float) -> float:
        rows, hits = SequenceRows(PACK, 4, insight, LEVELS["hard"]), 0
        for _ in range(200):
            asked, reply = rows.abstract().messages
            numbers = [int(word) for word in asked.content.split(" . ")[0].split()[1:]]
            hits += reply.content in {say(rule) for rule in fitting(numbers)}
        return hits / 200

    assert share(0.0) < 0.4
    assert share(1.0) == 1.0


def test_every_word_is_one_token_and_the_words_of_countdown_keep_their_ids() -> None:
    words, before = tiny.tokenizer(WORDS), tiny.tokenizer()
    assert len(words) == len(before) == tiny.VOCABULARY_SIZE
    assert [words.convert_tokens_to_ids(word) for word in tiny.WORDS] == [
        before.convert_tokens_to_ids(word) for word in tiny.WORDS
    ]
    encoder, rows = Encoder(words), SequenceRows(PACK, 5, 0.2)
    for row in (draw() for draw in (rows.abstract, rows.guided, rows.bare) for _ in range(50)):
        ids, _ = encoder.row(row)
        assert words.unk_token_id not in ids


def test_a_batch_holds_the_three_skills() -> None:
    step = next(batches(Config(abstractions=2, guided=3, bare=4)))
    assert {batch.kind: len(batch.ids) for batch in step} == {"abstract": 2, "guided": 3, "bare": 4}
    assert {say(rule).split()[0] for rule in guesses(named("2-5-8-11-14-17"))} == set(KINDS)

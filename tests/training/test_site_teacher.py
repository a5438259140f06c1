"""The site's expert is checked against the sites themselves: what it shows must be true but for its flaws."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest
import torch

from decoders.core.messages import Message, Prompt, Sampling
from decoders.environments.site import KINDS, LEVELS, TRAINED_LEVELS, Site, Walker, play, split_of
from decoders.prompts import Pack
from server.engines.embedded import EmbeddedEngine
from training import tiny
from training.recipes.tti_sft import VOCABULARY_SIZE, Config, levels, train
from training.supervised import Encoder
from training.teachers.site import WORDS, Expert, Flaws, SiteRows

FLAWLESS = Flaws(haste=0.0, stray=0.0, slip=0.0)
PACK = Pack.load("site")
SITES = [Site(level, kind, seed) for level in LEVELS for kind in KINDS for seed in range(2, 9)]


def test_without_flaws_the_expert_is_the_thorough_walker() -> None:
    for site in SITES:
        turns = list(Expert(site, PACK, random.Random(0), FLAWLESS).turns(100, 1))
        assert not any(turn.muted for turn in turns)
        assert site.judge(turns[-1].action.removeprefix("answer")) == 1.0
        assert len(turns) - 1 == play(site, Walker(site.goal), 100).steps


def test_a_hasty_expert_answers_early_and_goes_on_after_a_second_look() -> None:
    site = next(s for s in SITES if s.level == 3 and play(s, Walker(s.goal, eager=True), 100, 2).steps > 6)
    turns = list(Expert(site, PACK, random.Random(0), Flaws(haste=1.0, stray=0.0, slip=0.0)).turns(100, 9))
    answers = [turn.action for turn in turns if turn.action.startswith("answer")]
    assert len(set(answers)) > 1
    assert site.judge(answers[-1].removeprefix("answer")) == 1.0
    again = [i for i, turn in enumerate(turns) if turn.told.endswith("look again")]
    assert again
    assert all(turns[i - 1].action.startswith("answer") for i in again)


def test_flaws_that_are_not_to_be_learned_are_muted_and_recovered_from() -> None:
    flaws, right = Flaws(haste=0.0, stray=0.3, slip=0.1), 0
    for site in SITES:
        turns = list(Expert(site, PACK, random.Random(1), flaws).turns(400, 1))
        assert any(turn.muted for turn in turns) or len(turns) < 12
        assert not any(turn.muted for turn in turns if turn.said.startswith(("answer", "back")))
        right += site.judge(turns[-1].action.removeprefix("answer")) == 1.0
    assert right >= 0.95 * len(SITES)


def test_an_expert_whose_budget_ends_is_asked_for_its_answer() -> None:
    site = next(s for s in SITES if s.level == 4)
    turns = list(Expert(site, PACK, random.Random(0), FLAWLESS).turns(2, 1))
    assert [turn.told.endswith("answer now") for turn in turns] == [False, False, True]
    assert turns[-1].said == "answer none"


def test_rows_come_from_training_sites_alone() -> None:
    rows = SiteRows(PACK, 5, Flaws())
    for progress in (0.0, 0.3, 0.9):
        for _ in range(150):
            site = rows.site(levels(progress))
            assert split_of(site.seed) == "train"
            assert site.level in TRAINED_LEVELS


def test_a_thought_sets_what_is_wanted_beside_what_is_seen_and_the_action_follows_from_it() -> None:
    checked = 0
    for site in SITES:
        for turn in Expert(site, PACK, random.Random(2), Flaws(haste=0.5, stray=0.0, slip=0.0)).turns(60, 3):
            if "<think>" not in turn.said:
                continue
            _, _, first, colour, _, _, seen, _, material, _, word, *_ = turn.said.split()
            assert site.goal.startswith(f"find the {first} {colour} ")
            assert f"colour {seen}\nmade {material}" in turn.told
            fits = (first, colour) == (material, seen)
            assert word == ("answer" if fits else "back") or "cheapest" in site.goal
            checked += 1
    assert checked > 60


def test_every_word_of_every_site_is_one_token() -> None:
    words = tiny.tokenizer(WORDS, VOCABULARY_SIZE)
    rows = SiteRows(PACK, 6, Flaws(stray=0.2, slip=0.1))
    encoder = Encoder(words, observed=0.1)
    for level in LEVELS:
        for _ in range(25):
            row = rows.episode({level: 1.0})
            ids, _ = encoder.row(row)
            assert words.unk_token_id not in ids
            assert len(ids) < 2048
    with pytest.raises(ValueError, match="do not fit"):
        tiny.tokenizer(WORDS, 64)


def test_what_is_trained_is_what_was_said_and_not_muted() -> None:
    words, rows = tiny.tokenizer(WORDS, VOCABULARY_SIZE), SiteRows(PACK, 7, Flaws(stray=0.3))
    for _ in range(20):
        row = rows.episode({2: 1.0})
        ids, weights = Encoder(words).row(row)
        said = [m.content for m in row.messages if m.role == "assistant"]
        wanted = " ".join(f"{text} {tiny.CLOSE}" for i, text in enumerate(said) if i not in row.muted)
        assert words.decode([i for i, w in zip(ids, weights, strict=True) if w]).split() == wanted.split()


def test_the_recipe_writes_a_checkpoint_that_the_embedded_engine_reads(tmp_path: Path) -> None:
    sizes = {"steps": 2, "episodes": 4}
    folder = train(Config(seed=3, layers=1, width=32, feed_forward=32, output=tmp_path / "a", **sizes))
    torch.use_deterministic_algorithms(False)

    async def ask() -> str:
        engine = EmbeddedEngine(folder)
        try:
            prompt = Prompt((Message("user", "at home\ncamp"),))
            return "".join([chunk.text async for chunk in engine.generate(prompt, Sampling(4, seed=1))])
        finally:
            await engine.aclose()

    said = asyncio.run(ask()).split()
    assert len(said) <= 4
    assert set(said) <= {*WORDS, *(f"<reserved_{i}>" for i in range(VOCABULARY_SIZE)), tiny.THINK, tiny.END_THINK}

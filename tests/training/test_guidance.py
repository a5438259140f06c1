"""Guidance on the scripted engine: where help stands, how much of it, what is trained, what is remembered."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from benchmarks.tasks import Problem, load
from decoders.core.messages import Prompt, Sampling
from decoders.core.task import Model
from decoders.prompts import Pack
from server.engines.scripted import ScriptedEngine
from training import traces
from training.configuration import settings
from training.guidance import Copy, Guidance, Guided
from training.play import POLICY, Play
from training.recipes import imitate, pope, prefixrl
from training.rows import Row
from training.teachers.countdown import say_all, solutions
from training.traces import Solution

PROBLEMS = load("countdown").problems("hard", "train", 3)
ANSWERS = {problem.id: " ".join(say_all(solutions(problem)[0][1])) for problem in PROBLEMS}  # type: ignore[arg-type]


def solution(problem: Problem, **changes: Any) -> Solution:
    answer = ANSWERS[problem.id]
    place = {"task": "countdown", "level": "hard", "split": "train", "of": 3}
    told = {"question": problem.question, "solution": answer, "reply": f"<think> try it yes </think> {answer}"}
    return Solution.model_validate({**place, "id": problem.id, **told, **changes})


POOL = [(problem, solution(problem)) for problem in PROBLEMS]
NOTHING = "<think> try"


class Script:
    """A policy that finds the solution where a prompt shows so many words of it, and otherwise nothing."""

    def __init__(self, needs: int) -> None:
        self.needs, self.asked = needs, list[Prompt]()
        self.engine = ScriptedEngine(self._reply, model=POLICY)
        self.models = {POLICY: Model(self.engine, Pack.load("tiny"))}

    def _reply(self, prompt: Prompt, seed: int) -> str:
        self.asked.append(prompt)
        question = prompt.messages[0].content
        whole = next(s for p, s in POOL if question.startswith(p.question.lower()))
        hint = question.partition("start with ")[2]
        words = f"{hint} {prompt.prefix}".split()
        if len(words) < self.needs or seed % 2:
            return NOTHING
        return whole.reply.removeprefix(prompt.prefix) if prompt.prefix else whole.reply

    def play(self, step: int = 0) -> Play:
        return Play(self.models, Sampling(max_tokens=1), step, 0)

    def rows(self, recipe: Guided[Any], problem: Problem, step: int = 0) -> list[Row]:
        return list(asyncio.run(recipe.episode(problem, self.play(step))))

    def text(self, ids: Sequence[int]) -> str:
        return asyncio.run(self.engine.detokenize(ids))


def prefix(**guidance: Any) -> prefixrl.PrefixRL:
    chosen = {"batch": 4, "group": 4, "max_tokens": 60, "guidance": guidance}
    return prefixrl.PrefixRL(prefixrl.Config.model_validate(chosen), POOL)


def hints(**guidance: Any) -> pope.Pope:
    chosen = {"batch": 4, "group": 4, "max_tokens": 60, "guidance": guidance}
    return pope.Pope(pope.Config.model_validate(chosen), POOL)


def test_a_prefix_is_the_assistants_and_is_read_but_never_trained() -> None:
    script, recipe = Script(needs=1), prefix(low=0.5, high=0.5)
    rows = script.rows(recipe, Copy(PROBLEMS[0], 0))
    whole = POOL[0][1].reply
    assert {row.kind for row in rows} == {"guided"}
    assert len({prompt.messages for prompt in script.asked}) == 1
    given = script.asked[0].prefix
    assert whole.startswith(given)
    assert len(given.split()) == round(0.5 * len(whole.split()))
    for row in rows:
        assert script.text(row.prompt).endswith(given)
        said = script.text(row.completion)
        assert row.mask is None
        assert given not in said
        assert (row.reward == 1) == (given + said == whole)
    assert {row.reward for row in rows} == {0, 1}


@pytest.mark.parametrize("share", [0.1, 0.7, 0.95])
def test_an_answer_counts_as_a_whole_wherever_the_cut_was(share: float) -> None:
    script = Script(needs=1)
    rows = script.rows(prefix(low=share, high=share), Copy(PROBLEMS[1], 0))
    assert sorted(row.reward or 0 for row in rows) == [0, 0, 1, 1]


def test_a_hint_is_the_users_and_the_reply_begins_from_nothing() -> None:
    script, recipe = Script(needs=3), hints(high=0.9, cuts=3)
    rows = script.rows(recipe, Copy(PROBLEMS[0], 0))
    assert all(not prompt.prefix for prompt in script.asked)
    trained = {script.text(row.prompt) for row in rows}
    assert trained == {script.asked[-1].messages[0].content}
    shown = trained.pop().partition(" . hint : start with ")[2]
    assert ANSWERS[PROBLEMS[0].id].startswith(shown)
    assert shown


def test_the_shortest_beginning_that_works_is_taken_once_and_looked_for_again_where_that_is_wanted() -> None:
    size = len(ANSWERS[PROBLEMS[0].id].split())
    for refresh, expected in ((None, [6, 6, 6]), (2, [6, 6, 2])):
        script, recipe = Script(needs=5), hints(high=1, cuts=size, refresh=refresh)
        for step, words in enumerate(expected):
            if step == 1:
                script.needs = 2
            rows = script.rows(recipe, Copy(PROBLEMS[0], 0), step)
            shown = script.text(rows[0].prompt).partition("start with ")[2]
            assert len(shown.split()) in (words, words - 1)


def test_without_any_that_works_the_longest_allowed_is_shown() -> None:
    script, recipe = Script(needs=99), hints(high=0.5, cuts=4, tries=2)
    script.rows(recipe, Copy(PROBLEMS[0], 0))
    sizes = [len(prompt.messages[0].content.partition("start with ")[2].split()) for prompt in script.asked]
    assert sorted(sizes) == sizes
    assert len(script.asked) == 3 * 2 + 4
    assert sizes[-1] == round(0.5 * len(ANSWERS[PROBLEMS[0].id].split()))


def test_an_epoch_has_each_copy_once_in_the_papers_proportions() -> None:
    for recipe, guided in ((prefix(), 3), (hints(), 1), (prefix(plain=0), 3), (prefix(guided=0), 0)):
        plain = recipe.config.guidance.plain
        total = len(PROBLEMS) * (guided + plain)
        drawn = [problem for step in range(total) for problem in recipe.problems(step)][: 2 * total]
        for epoch in (drawn[:total], drawn[total:]):
            assert len({problem.id for problem in epoch}) == len(PROBLEMS) * (guided + bool(plain))
            assert sum(isinstance(problem, Copy) for problem in epoch) == len(PROBLEMS) * guided


def cuts(recipe: Guided[Any], step: int) -> list[float]:
    script = Script(needs=1)
    return [asyncio.run(recipe.guide(Copy(PROBLEMS[0], i), script.play(step))).share for i in range(3)]


def test_cuts_are_drawn_once_a_copy_or_anew() -> None:
    once, anew = prefix(), prefix(low=0, high=1, refresh=1)
    assert cuts(once, 0) == cuts(once, 7) == cuts(prefix(), 3)
    assert len(set(cuts(once, 0))) == 3
    assert all(0.4 <= share <= 0.8 for share in cuts(once, 0))
    assert cuts(anew, 0) != cuts(anew, 1)
    assert cuts(anew, 1) == cuts(prefix(low=0, high=1, refresh=1), 1)


def test_plain_copies_are_asked_plainly_and_only_they_count_as_solved() -> None:
    script, recipe = Script(needs=0), prefix()
    assert recipe.metrics()["unsolved"] == 3
    script.rows(recipe, Copy(PROBLEMS[0], 0))
    assert recipe.metrics()["unsolved"] == 3
    recipe.problems(0)
    rows = script.rows(recipe, PROBLEMS[0])
    assert script.text(rows[0].prompt) == PROBLEMS[0].question.lower()
    assert recipe.metrics() == {"unsolved": 2, "idle/plain": 0}


def test_a_recipe_that_is_restored_goes_on_exactly() -> None:
    one, two = hints(high=0.9, refresh=3), hints(high=0.9, refresh=3)
    script = Script(needs=4)

    def steps(recipe: Guided[Any], at: range) -> list[Row]:
        return [row for step in at for problem in recipe.problems(step) for row in script.rows(recipe, problem, step)]

    steps(one, range(3))
    two.restore(json.loads(json.dumps(one.state())))
    two.rng.setstate(one.rng.getstate())
    assert steps(two, range(3, 7)) == steps(one, range(3, 7))
    assert two.state() == one.state()


@pytest.mark.parametrize("wrong", [{"low": 0.9}, {"guided": 0, "plain": 0}, {"high": 1.5}, {"plain": -1}])
def test_impossible_guidance_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"share|nothing to train"):
        Guidance.model_validate(wrong)


def test_a_prefix_needs_a_reply_and_a_recipe_needs_training_problems() -> None:
    config = prefixrl.Config(group=2, max_tokens=20)
    with pytest.raises(ValueError, match="no solutions of training problems"):
        prefixrl.PrefixRL(config, [(PROBLEMS[0], solution(PROBLEMS[0], split="test"))])
    bare = prefixrl.PrefixRL(config, [(PROBLEMS[0], solution(PROBLEMS[0], reply=""))])
    with pytest.raises(ValueError, match="only a solution"):
        Script(needs=1).rows(bare, Copy(PROBLEMS[0], 0))


def test_ids_are_those_that_were_generated_unless_they_say_something_else() -> None:
    script, (_, known) = Script(needs=1), POOL[0]
    own = asyncio.run(script.engine.tokenize(Prompt(text=known.reply)))
    for given, expected in ((own, own), ((*own, 3), (*own, 3)), (own[3:], own)):
        told = known.model_copy(update={"token_ids": given})
        assert asyncio.run(traces.ids(told, script.engine)) == expected


@pytest.mark.parametrize("module", [pope, prefixrl, imitate])
def test_presets_are_settings(module: Any) -> None:
    for preset in module.PRESETS:
        made: Any = settings(module, preset, None, [])
        assert isinstance(made, module.Config)
    assert pope.Config().guidance.placement == "user_hint"
    changed: Any = settings(pope, "tiny", None, ["guidance.refresh=5"])
    assert (changed.guidance.choice, changed.guidance.guided, changed.guidance.refresh) == ("shortest", 1, 5)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    traces.write(tmp_path / "traces.jsonl", [given for _, given in POOL])
    return tmp_path / "traces.jsonl"


def test_a_file_of_traces_is_read_with_its_problems(file: Path) -> None:
    longer = solution(PROBLEMS[0], reply=POOL[0][1].reply + " again")
    traces.write(file, [longer])
    assert traces.read(file) == POOL
    with pytest.raises(ValueError, match="longthink traces collect"):
        traces.read(file.with_name("none.jsonl"))


@pytest.mark.parametrize("module", [prefixrl, imitate])
def test_a_step_moves_the_policy_and_tells_what_it_cost(module: Any, small: Path, file: Path, tmp_path: Path) -> None:
    changes = {"model": small, "output": tmp_path / "run", "steps": 1, "warmup": 0, "traces": file, "batch": 3}
    if module is prefixrl:  # an untrained model is never right, but some of what it says is an answer
        changes |= {"group": 32, "max_tokens": 16, "wrong": -1.0}
    folder = module.train(module.Config.model_validate(changes))
    before, after = (load_file(place / "model.safetensors") for place in (small, folder))
    assert any(not before[name].equal(after[name]) for name in before)
    told = json.loads((folder / "metrics.jsonl").read_text())
    assert told["compute"] > told["trained_tokens"] > 0

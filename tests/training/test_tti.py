"""TTI: horizons, what an episode is worth and as which row, what is remembered, and a real step of training."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest
from transformers import AutoModelForCausalLM

from benchmarks.tasks import Problem, load
from decoders.core.messages import Sampling
from decoders.core.rows import asked
from decoders.core.task import Model
from decoders.environments.catalogue import Catalogue
from decoders.prompts import Pack
from training.configuration import merged
from training.engines.inline import InlineEngine
from training.evaluate import evaluate
from training.play import POLICY, Play
from training.recipes.tti import PRESETS, TTI, Config, train
from training.rows import Row
from training.settings import AGENT, Evaluation
from training.studies.tti import ARMS, MEASURES

T = TypeVar("T")


@asynccontextmanager
async def playing(**options: Any) -> AsyncIterator[Play]:
    """The shipped agent, as a recipe plays with it."""
    config = Config()
    engine = InlineEngine(AGENT, AutoModelForCausalLM.from_pretrained(AGENT), model=POLICY)
    environments = Catalogue(config.environments)
    yield Play({POLICY: Model(engine, Pack.load("site"))}, Sampling(1), 0, 3, environments=environments, **options)
    await environments.aclose()
    await engine.aclose()


def with_play(work: Callable[[Play], Awaitable[T]]) -> T:
    async def run() -> T:
        async with playing() as play:
            return await work(play)

    return asyncio.run(run())


async def sampled(recipe: TTI, play: Play, step: int) -> list[Sequence[Row]]:
    problems = recipe.problems(step)
    episodes = (recipe.episode(problem, play.within(str(i))) for i, problem in enumerate(problems))
    return list(await asyncio.gather(*episodes))


def horizons(n: int, **settings: Any) -> list[int]:
    return list(map(Config.model_validate(settings).horizon(), range(n)))


def test_horizons_grow_as_asked() -> None:
    assert horizons(6, schedule="multiplicative", shortest=4, longest=20, growth=2, every=2) == [4, 4, 8, 8, 16, 16]
    assert horizons(5, schedule="additive", shortest=4, longest=9, growth=2, every=1) == [4, 6, 8, 9, 9]
    assert horizons(3, schedule="fixed", shortest=4, longest=9) == [9, 9, 9]
    assert horizons(6, **PRESETS["paper"]) == [10, 20, 20, 30, 30, 30]


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_are_settings(preset: str) -> None:
    config = Config.model_validate(PRESETS[preset])
    assert config.capacity >= config.replay


def test_the_arms_of_the_study_differ_in_nothing_but_the_horizon() -> None:
    configs = {name: Config.model_validate(merged(PRESETS["tiny"], arm.settings)) for name, arm in ARMS.items()}
    ends = {name: (config.horizon()(0), config.horizon()(config.steps - 1)) for name, config in configs.items()}
    assert ends == {"multiplicative": (6, 32), "additive": (6, 24), "short": (6, 6), "long": (32, 32)}
    horizon = {"schedule", "shortest", "longest", "growth"}
    assert len({config.model_dump_json(exclude=horizon) for config in configs.values()}) == 1
    assert all(load(measure.task).problems(measure.level, "dev", 1) for measure in MEASURES)
    assert len({measure.name for measure in MEASURES}) == len(MEASURES) == 16


def test_rows_are_what_the_decoder_saw_and_only_replies_are_trained() -> None:
    async def work(play: Play) -> None:
        problem = load("site").problems("2-find", "train", 1)[0]
        decoder = play.decoder({"name": "tti", "max_steps": 6, "min_answers": 2})
        played = await play.decode(problem, decoder, 1000)
        [row] = await play.episode(played, 0.5, 1.0, "2-find")
        said = [id for step in played.steps("act") for id in step.completion.token_ids]
        assert row.mask is not None
        assert [id for id, own in zip(row.completion, row.mask, strict=True) if own] == said
        assert row.trained == len(said) < len(row.completion)
        last = played.steps("act")[-1]
        assert row.prompt + row.completion == await play.tokenize(asked(last)) + last.completion.token_ids
        assert (row.advantage, row.reward, row.kind) == (0.5, 1.0, "2-find")

    with_play(work)


def test_cloning_keeps_what_was_rewarded_and_nothing_else() -> None:
    recipe = TTI(Config(batch=12, levels={"2-find": 1.0}, shortest=8, replay=4))
    found = with_play(lambda play: sampled(recipe, play, 0))
    kept = [row for rows in found for row in rows]
    chosen = recipe.replay(kept)
    metrics = recipe.metrics()
    assert 0 < len(kept) == 12 * metrics["success"] < 12
    assert {(row.advantage, row.reward, row.logprobs, row.kind) for row in kept} == {(1.0, 1.0, None, "2-find")}
    assert len(recipe.buffer) == len(kept)
    assert len(chosen) == min(4, len(kept))
    assert (metrics["horizon"], metrics["episodes"]) == (8, 12)


def test_reinforce_centres_the_return_over_a_group() -> None:
    settings = {"algorithm": "reinforce", "group": 6, "batch": 3, "levels": {"2-find": 1.0}, "shortest": 8}
    recipe = TTI(Config.model_validate({**settings, "loss": {"advantage": "centred"}}))
    found = with_play(lambda play: sampled(recipe, play, 0))
    for rows in found:
        rewards = [row.reward or 0.0 for row in rows]
        assert [row.advantage for row in rows] == pytest.approx([r - sum(rewards) / 6 for r in rewards])
    everything = [row for rows in found for row in rows]
    assert len({row.completion for row in everything}) > 3
    assert recipe.replay(everything) == everything
    assert len(recipe.buffer) == 0


def test_a_restored_recipe_goes_on_where_the_first_was() -> None:
    config = Config(interactions=60, levels={"2-find": 1.0, "1-cheapest": 1.0}, shortest=6, replay=3, every=1)

    async def work(play: Play) -> None:
        recipe, again = TTI(config), TTI(config)
        recipe.replay([row for rows in await sampled(recipe, play, 0) for row in rows])
        again.restore(json.loads(json.dumps(recipe.state())))
        again.rng.setstate(recipe.rng.getstate())
        assert ids(again.problems(1)) == ids(recipe.problems(1))
        assert again.buffer.state() == recipe.buffer.state() != []
        new = [Row((1,), (2, 3), 1.0, (1, 0), None, 1.0, "2-find")] * 4
        assert again.replay(new) == recipe.replay(new)
        assert again.metrics() == recipe.metrics()

    with_play(work)


def ids(problems: Sequence[Problem]) -> list[str]:
    return [problem.id for problem in problems]


def test_the_account_makes_horizons_equal_in_interactions() -> None:
    async def spent(longest: int, play: Play) -> float:
        recipe = TTI(Config(interactions=60, levels={"1-find": 1.0}, schedule="fixed", longest=longest))
        for step in range(4):
            recipe.replay([row for rows in await sampled(recipe, play, step) for row in rows])
        return recipe.metrics()["spent"]

    async def work(play: Play) -> None:
        assert [await spent(longest, play) for longest in (2, 16)] == pytest.approx([240, 240], abs=40)

    with_play(work)


def test_an_evaluation_acts_in_the_environment() -> None:
    wanted = Evaluation(
        name="near", task="site", level="1-find", problems=6, decoder={"name": "tti", "max_steps": 8, "min_answers": 2}
    )

    async def work(play: Play) -> None:
        result = await evaluate(wanted, play.models, Sampling(1, temperature=0.7), 0, play.environments)
        assert len(result.right) == 6
        assert result.accuracy > 0
        with pytest.raises(ValueError, match="environments"):
            await evaluate(wanted, play.models, Sampling(1, temperature=0.7), 0)

    with_play(work)


def test_a_step_of_training_makes_a_checkpoint(tmp_path: Path) -> None:
    near = {"name": "near", "task": "site", "level": "1-find", "problems": 2, "decoder": {"name": "tti"}}
    settings = {"steps": 2, "batch": 10, "levels": {"1-find": 1.0}, "parts": 1, "device": "cpu", "evaluations": [near]}
    folder = train(Config.model_validate({**settings, "output": tmp_path}))
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["horizon"] for line in lines] == [4, 4]
    assert all(line["success"] > 0 and line["rows"] > 0 and line["grad_norm"] > 0 for line in lines)
    assert (folder / "model.safetensors").read_bytes() != (AGENT / "model.safetensors").read_bytes()
    assert json.loads((folder / "longthink.json").read_text()) == {"pack": "site"}

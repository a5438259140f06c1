"""Training rows of the sites are what the decoder `tti` says, and in it the walkers fare as they do by themselves."""

from __future__ import annotations

import random

import pytest

from decoders.core.budget import Budget
from decoders.core.messages import Prompt
from decoders.core.run import Run
from decoders.core.task import Model
from decoders.environments.base import Environment
from decoders.environments.site import Site, SiteEnvironment, Walker, play
from decoders.prompts import Pack
from decoders.tti import TTI
from server.engines.scripted import ScriptedEngine
from tests.decoders.support import decode
from training.teachers.site import Expert, Flaws

PACK = Pack.load("site")


def run_of(site: Site, engine: ScriptedEngine) -> Run:
    async def opened() -> Environment:
        return SiteEnvironment({"level": site.level, "kind": site.kind, "seed": site.seed})

    return Run({engine.model: Model(engine, PACK)}, engine.model, Budget(100_000), environment=opened)


@pytest.mark.parametrize("seed", range(12))
def test_the_decoder_asks_in_the_words_of_the_rows(seed: int) -> None:
    rng = random.Random(seed)
    site = Site(rng.choice((1, 2, 3)), rng.choice(("find", "cheapest")), seed)
    budget, min_answers = rng.choice((4, 40)), rng.choice((1, 2, 3))
    turns = list(Expert(site, PACK, rng, Flaws(haste=0.5, stray=0.1, slip=0.1)).turns(budget, min_answers))
    run = run_of(site, ScriptedEngine([turn.said for turn in turns]))
    decode(TTI(max_steps=budget, min_answers=min_answers, keep_thoughts=True), run)
    said = [text for turn in turns for text in (("user", turn.told), ("assistant", turn.said))]
    assert [list(step.messages) for step in run.trace.steps] == [said[: 2 * i + 1] for i in range(len(turns))]
    wanted = site.judge(turns[-1].action.removeprefix("answer"))
    assert run.trace.interaction.reward == wanted  # type: ignore[union-attr]


@pytest.mark.parametrize("eager", [False, True])
@pytest.mark.parametrize("min_answers", [1, 2, 3])
@pytest.mark.parametrize("budget", [0, 2, 8, 64])
def test_a_walker_behind_the_decoder_fares_as_by_itself(eager: bool, min_answers: int, budget: int) -> None:
    for seed in range(4):
        site = Site(2 + seed % 2, "find" if seed < 2 else "cheapest", seed)

        def reply(prompt: Prompt, _: int, site: Site = site) -> str:
            return retold(prompt, Walker(site.goal, eager))

        run = run_of(site, ScriptedEngine(reply))
        decode(TTI(max_steps=budget, min_answers=min_answers), run)
        played, counted = play(site, Walker(site.goal, eager), budget, min_answers), run.trace.interaction
        assert counted is not None
        assert (counted.reward, counted.steps, counted.answers) == (played.reward, played.steps, played.answers)
        assert counted.stopped == played.stopped


def retold(prompt: Prompt, walker: Walker) -> str:
    """What a walker says at the end of a conversation, once it has gone through the rest of it."""
    said = ""
    for message in prompt.messages:
        if message.role == "user":
            text = message.content.removesuffix("\n\nanswer now").removesuffix("\nlook again")
            said = walker.act(text[text.index("at ") :] if "find the" in text else text)
            if message.content.endswith("answer now"):
                said = walker.answer()
    return said

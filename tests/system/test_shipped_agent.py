"""The shipped agent on sites that it was not trained on: interactions and second looks buy it right answers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence

from benchmarks.tasks.site import problems
from decoders.core.budget import Budget
from decoders.core.messages import Message
from decoders.core.run import Run
from decoders.core.task import Model, Task
from decoders.environments.base import Environment
from decoders.environments.site import Site, SiteEnvironment
from decoders.prompts import Pack
from decoders.tti import TTI
from server.engines.embedded import EmbeddedEngine
from server.model_options import SHIPPED
from tests.decoders.support import collect

FOLDER = SHIPPED.with_name("longthink-tiny-agent")
N = 16


async def episode(engine: EmbeddedEngine, site: Site, max_steps: int, min_answers: int) -> bool:
    async def opened() -> Environment:
        return SiteEnvironment({"level": site.level, "kind": site.kind, "seed": site.seed})

    model = {engine.model: Model(engine, Pack.load(engine.pack or ""))}
    run = Run(model, engine.model, Budget(10_000), seed=site.seed, environment=opened)
    options = Pack.load("site").options("tti") | {"max_steps": max_steps, "min_answers": min_answers}
    decoder = TTI(**options)
    await collect(decoder, run, Task((Message("user", site.goal),)))
    return run.trace.interaction is not None and run.trace.interaction.reward == 1.0


def solved(settings: Sequence[tuple[int, int]]) -> list[int]:
    """How many of the first level-2 dev sites are solved with each budget and re-check rule."""
    sites = [problem.site for problem in problems("2-find", "dev", N)]

    async def all_of_them() -> list[int]:
        engine = EmbeddedEngine(FOLDER)
        try:
            runs = [[episode(engine, site, *setting) for site in sites] for setting in settings]
            return [sum(await asyncio.gather(*of_one)) for of_one in runs]
        finally:
            await engine.aclose()

    return asyncio.run(all_of_them())


def test_interactions_and_second_looks_buy_right_answers() -> None:
    poor, hasty, patient = solved([(2, 3), (32, 1), (32, 3)])
    assert poor < patient
    assert hasty < patient
    assert patient >= 0.6 * N


def test_the_folder_is_small_and_says_how_it_was_made() -> None:
    assert sum(f.stat().st_size for f in FOLDER.iterdir()) < 12_000_000
    card = (FOLDER / "README.md").read_text()
    assert "longthink train tti_sft --set seed=" in card
    assert "Level 4" in card
    assert json.loads((FOLDER / "longthink.json").read_text())["pack"] == "site"

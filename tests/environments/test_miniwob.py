"""MiniWoB++ tasks in a real browser, solved by scripted policies from what the environment shows."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from decoders.core.errors import InvalidRequest
from decoders.environments.catalogue import Catalogue
from decoders.environments.options import BrowserOptions
from tests.environments.miniwob_policies import POLICIES
from tests.environments.support import Family, opened, run

pytestmark = pytest.mark.usefixtures("chromium")
pytest.importorskip("miniwob", reason="pip install miniwob")

MOST_STEPS = 24


def options(**fields: Any) -> BrowserOptions:
    return BrowserOptions.model_validate({"kind": "browser", "task": "miniwob", "max_concurrent": 4, **fields})


async def play(environments: Catalogue, task: str, seed: int) -> float | None:
    """The reward at the end."""
    episode = await environments.open("web", {"task": task, "seed": seed})
    try:
        begun = seen = await episode.start()
        done: list[str] = []
        while not seen.done and len(done) < MOST_STEPS:
            done.append(POLICIES[task](begun.goal, seen.text, done))
            seen = await episode.step(done[-1])
        return seen.reward
    finally:
        await episode.aclose()


def test_every_policy_solves_its_task(family: Family) -> None:
    async def main() -> dict[str, float | None]:
        environments = Catalogue({"web": options()})
        rewards = await asyncio.gather(*(play(environments, task, 1) for task in POLICIES))
        await environments.aclose()
        await family.gone()
        return dict(zip(POLICIES, rewards, strict=True))

    assert len(POLICIES) >= 20
    assert {task: reward for task, reward in run(main(), 120).items() if reward != 1.0} == {}


def test_equal_seeds_are_equal_episodes_and_wrong_is_no_reward() -> None:
    async def main() -> None:
        shown = []
        for seed in (5, 5, 6):
            async with opened(options(), task="click-button", seed=seed) as episode:
                begun = await episode.start()
                shown.append((begun.goal, begun.text))
        assert shown[0] == shown[1] != shown[2]
        async with opened(options(), task="click-test-2", seed=0) as episode:
            begun = await episode.start()
            wrong = next(line for line in begun.text.splitlines() if '"TWO"' in line)
            seen = await episode.step(f"click {wrong[1 : wrong.index(']')]}")
            assert (seen.done, seen.reward) == (True, -1.0)

    run(main())


@pytest.mark.parametrize(
    ("action", "told"), [("goto http://127.0.0.1", "not an action"), ("answer 3", "not an action")]
)
def test_there_is_nowhere_to_go_and_nothing_to_answer(action: str, told: str) -> None:
    async def main() -> None:
        async with opened(options(), task="click-test") as episode:
            await episode.start()
            seen = await episode.step(action)
            assert seen.error
            assert "not an action" in seen.text
            assert episode.answer(action) is None

    run(main())


def test_tasks_are_those_of_the_configuration() -> None:
    async def main() -> None:
        async with opened(options(tasks=["click-link", "click-test"])) as episode:
            assert (await episode.start()).goal.startswith("Click on the link")
        for reset in ({"task": "login-user"}, {"task": "../core/core"}, {"speed": 1}):
            with pytest.raises(InvalidRequest) as refusal:
                async with opened(options(tasks=["click-test"]), **reset):
                    pass
            assert refusal.value.param == "environment"

    run(main())


def test_tasks_that_there_are_not() -> None:
    with pytest.raises(ValueError, match="click-nothing"):
        Catalogue({"web": options(tasks=["click-nothing"])})

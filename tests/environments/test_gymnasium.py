"""Gymnasium environments in this process: text in, text out, one thread an episode."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from decoders.core.errors import EnvironmentFailed
from decoders.environments.base import Observation
from decoders.environments.catalogue import Catalogue
from decoders.environments.options import GymnasiumOptions
from tests.environments.support import opened, run, until

pytest.importorskip("gymnasium", reason="pip install gymnasium")


def parrot(name: str = "Parrot", **fields: Any) -> GymnasiumOptions:
    return GymnasiumOptions.model_validate(
        {"kind": "gymnasium", "id": f"tests/{name}-v0", "import": ["tests.environments.worlds"], **fields}
    )


def test_an_episode_from_reset_to_its_end() -> None:
    async def main() -> list[Observation]:
        async with opened(parrot(options={"greeting": "hi"}), seed=7, depth=2) as episode:
            return [await episode.start(), await episode.step("a b"), await episode.step("win")]

    assert run(main()) == [
        Observation("hi 7 [('depth', 2)]", goal="say win"),
        Observation("you said a b", reward=0.0),
        Observation("you said win", reward=1.0, done=True),
    ]


def test_an_action_outside_the_space_is_something_to_see() -> None:
    async def main() -> Observation:
        async with opened(parrot()) as episode:
            await episode.start()
            return await episode.step("x" * 101)

    seen = run(main())
    assert seen.error
    assert "not an action here" in seen.text


@pytest.mark.parametrize(("action", "told"), [("raise", "a wing is broken"), ("hang", "did not answer within 0.2 s")])
def test_a_failure_ends_the_episode(action: str, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("decoders.environments.guard.CLOSING_SECONDS", 0.2)

    async def main() -> None:
        async with opened(parrot(step_seconds=0.2)) as episode:
            await episode.start()
            with pytest.raises(EnvironmentFailed, match=told):
                await episode.step(action)
            with pytest.raises(EnvironmentFailed, match="broken off"):
                await episode.step("more")

    run(main())


def test_episodes_side_by_side_have_threads_of_their_own_and_leave_them() -> None:
    async def main() -> None:
        environments = Catalogue({"parrot": parrot()})
        before = lanes()
        episodes = [await environments.open("parrot") for _ in range(4)]
        await asyncio.gather(*(episode.start() for episode in episodes))
        assert len(lanes() - before) == 4
        await asyncio.gather(*(episode.step("a") for episode in episodes))
        await environments.aclose()
        await until(lambda: not lanes() - before)

    run(main())


def lanes() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name == "gymnasium"}


def test_what_is_not_text_is_refused_by_name() -> None:
    async def main() -> None:
        async with opened(parrot("Counter")) as episode:
            with pytest.raises(EnvironmentFailed, match=r"not text but Discrete\(3\)"):
                await episode.start()

    run(main())


@pytest.mark.parametrize("fields", [{"id": "tests/Nobody-v0"}, {"import": ["tests.environments.nowhere"]}])
def test_a_mistake_in_the_configuration_is_found_before_any_episode(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"environments\.here: .*(Nobody|nowhere)"):
        Catalogue({"here": parrot(**fields)})

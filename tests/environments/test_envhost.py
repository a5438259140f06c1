"""`longthink envhost` as a process of its own, reached as any OpenEnv server is."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from decoders.core.errors import EnvironmentFailed
from decoders.environments.base import Observation
from decoders.environments.catalogue import Catalogue
from decoders.environments.options import OpenEnvOptions
from tests.environments.support import Family, opened, run, until

pytest.importorskip("gymnasium", reason="pip install gymnasium")


@contextmanager
def hosting(*arguments: str, key: str = "") -> Iterator[str]:
    """Where it listens."""
    command = [sys.executable, "-m", "server", "envhost", *arguments, "--import", "tests.environments.worlds"]
    environment = {**os.environ, "LONGTHINK_ENVHOST_KEY": key}
    with subprocess.Popen([*command, "--port", "0"], stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().split()[-1]
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0


@pytest.fixture(scope="module")
def parrots() -> Iterator[str]:
    with hosting("tests/Parrot-v0", "tests/C*", "--option", "greeting=hi") as url:
        yield url


def options(url: str, **fields: float) -> OpenEnvOptions:
    return OpenEnvOptions.model_validate({"kind": "openenv", "url": url, **fields})


def test_an_episode(parrots: str) -> None:
    async def main() -> list[Observation]:
        async with opened(options(parrots), seed=7, depth=2) as episode:
            return [await episode.start(), await episode.step("a b"), await episode.step("win")]

    assert run(main()) == [
        Observation("hi 7 [('depth', 2)]"),
        Observation("you said a b", reward=0.0),
        Observation("you said win", reward=1.0, done=True),
    ]


def test_what_goes_wrong_inside_is_something_to_see(parrots: str) -> None:
    async def main() -> None:
        async with opened(options(parrots)) as episode:
            await episode.start()
            for action, told in [("raise", "a wing is broken"), ("x" * 101, "not an action here")]:
                seen = await episode.step(action)
                assert seen.error
                assert told in seen.text
            assert not (await episode.step("a")).error

    run(main())


@pytest.mark.parametrize(("action", "told"), [("die", "has died"), ("hang", "did not answer within 0.5 s")])
def test_an_environment_that_dies_or_hangs_takes_nobody_along(action: str, told: str, family: Family) -> None:
    async def main(url: str) -> None:
        async with opened(options(url)) as other:
            await other.start()
            before = len(family.members())
            async with opened(options(url, step_seconds=0.5)) as episode:
                await episode.start()
                assert len(family.members()) == before + 1
                with pytest.raises(EnvironmentFailed, match=told):
                    await episode.step(action)
            await until(lambda: len(family.members()) == before)
            assert (await other.step("a")).text == "you said a"

    with hosting("tests/Parrot-v0") as url:
        run(main(url))
    run(family.gone())


def test_another_environment_by_its_name(parrots: str) -> None:
    async def main() -> None:
        environments = Catalogue({"here": options(parrots)})
        counter = await environments.open("here", {"task": "Parrot-v0"})
        await counter.start()
        nobody = await environments.open("here", {"task": "Nobody-v0"})
        with pytest.raises(EnvironmentFailed, match="Nobody-v0"):
            await nobody.start()
        await environments.aclose()

    run(main())


def test_sessions_are_as_many_as_were_allowed() -> None:
    async def main(url: str) -> None:
        environments = Catalogue({"here": options(url)})
        first, second, third = [await environments.open("here") for _ in range(3)]
        await asyncio.gather(first.start(), second.start())
        with pytest.raises(EnvironmentFailed, match="CAPACITY_REACHED"):
            await third.start()
        await environments.aclose()

    with hosting("tests/Parrot-v0", "--max-concurrent", "2") as url:
        run(main(url))


def test_numbers_are_an_action_of_one_field() -> None:
    async def main(url: str) -> None:
        async with opened(options(url)) as episode:
            begun = await episode.start()
            assert begun.text == "[0.0, 0.0]"
            [tool] = json.loads(begun.tools)
            assert tool["function"]["parameters"]["properties"]["action"]["maximum"] == 2
            assert (await episode.step('{"name": "act", "arguments": {"action": 7}}')).error
            seen = await episode.step('{"name": "act", "arguments": {"action": 2}}')
            assert seen == Observation("[2.0, 2.0]", reward=0.5, done=True)

    with hosting("tests/Counter-v0") as url:
        run(main(url))


def test_who_may_connect() -> None:
    with hosting("tests/Parrot-v0", key="secret") as url:
        place = url.replace("ws", "http", 1)
        assert httpx.get(f"{place}/health").status_code == 401
        allowed = {"Authorization": "Bearer secret"}
        assert httpx.get(f"{place}/health", headers=allowed).json() == {"status": "healthy", "sessions": 0}
        assert httpx.get(f"{place}/schema", headers={**allowed, "Origin": "http://evil"}).status_code == 403


def test_no_process_is_left(family: Family) -> None:
    async def main(url: str) -> None:
        async with opened(options(url)) as episode:
            await episode.start()
            assert family.members()

    with hosting("tests/Parrot-v0") as url:
        run(main(url))
    run(family.gone())


def test_a_mistake_on_the_command_line(capfd: pytest.CaptureFixture[str]) -> None:
    command = [sys.executable, "-m", "server", "envhost", "tests/Nobody-v0"]
    assert subprocess.run(command, check=False).returncode == 2
    assert "is an --import missing?" in capfd.readouterr().err


def test_it_needs_nothing_of_longthink_but_itself() -> None:
    code = (
        "import sys, server.envhost, server.envhost.host; print([m for m in sys.modules if m.startswith('decoders')])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"

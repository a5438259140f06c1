"""From configuration to episodes: what requests may say, and the rules that hold for every kind."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from decoders.core.errors import EnvironmentFailed, InvalidRequest
from decoders.environments.base import Observation, Toolbox
from decoders.environments.catalogue import Catalogue
from decoders.environments.guard import Finals, Guarded
from decoders.environments.options import McpOptions, OpenEnvOptions, Options
from server.settings import load
from tests.environments.support import run, until


class Room:
    """An environment that keeps what it was told, and waits or breaks where it should."""

    def __init__(self, tools: str = "") -> None:
        self.told: list[str] = []
        self.closed = 0
        self._tools = tools

    async def start(self) -> Observation:
        return Observation("a room", tools=self._tools)

    async def step(self, action: str) -> Observation:
        self.told.append(action)
        if action == "wait":
            await asyncio.Event().wait()
        if action == "break":
            raise OSError("a wall fell down")
        return Observation("x" * 1000, done=action == "leave")

    def answer(self, action: str) -> str | None:
        return action.removeprefix("say ") if action.startswith("say ") else None

    async def aclose(self) -> None:
        self.closed += 1
        if "wait at the door" in self.told:
            await asyncio.Event().wait()
        if "slam" in self.told:
            raise OSError("the door is stuck")


def guarded(room: Room, places: asyncio.Semaphore | None = None, **fields: Any) -> Guarded:
    return Guarded("room", room, Options(**fields), places or asyncio.Semaphore(1))


def test_observations_are_cut() -> None:
    async def main() -> str:
        episode = guarded(Room(), max_observation_chars=64)
        await episode.start()
        return (await episode.step("look")).text

    assert run(main()) == "x" * 64 + "\n[cut: the first 64 of 1000 characters]"


@pytest.mark.parametrize(
    ("action", "told"),
    [("wait", "did not answer within 0.05 s"), ("break", "failed: OSError: a wall fell down")],
)
def test_after_a_failure_nothing_reaches_the_environment_but_its_end(action: str, told: str) -> None:
    async def main() -> None:
        room = Room()
        episode = guarded(room, step_seconds=0.05)
        await episode.start()
        with pytest.raises(EnvironmentFailed, match=told):
            await episode.step(action)
        with pytest.raises(EnvironmentFailed, match="broken off"):
            await episode.step("look")
        await episode.aclose()
        await episode.aclose()
        assert (room.told, room.closed) == ([action], 1)

    run(main())


def test_after_the_end_there_are_no_steps() -> None:
    async def main() -> None:
        episode = guarded(Room())
        with pytest.raises(EnvironmentFailed, match="has not started"):
            await episode.step("look")
        await episode.start()
        assert (await episode.step("leave")).done
        with pytest.raises(EnvironmentFailed, match="is over"):
            await episode.step("look")

    run(main())


def test_places_are_waited_for_and_given_back() -> None:
    async def main() -> None:
        places = asyncio.Semaphore(1)
        first, second, third = (guarded(Room(), places, wait_seconds=0.05) for _ in range(3))
        await first.start()
        with pytest.raises(EnvironmentFailed, match="places were taken"):
            await second.start()
        await second.aclose()
        await first.aclose()
        await third.start()
        await third.aclose()
        assert places._value == 1

    run(main())


def test_an_episode_that_cannot_be_left_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("decoders.environments.guard.CLOSING_SECONDS", 0.05)

    async def main() -> None:
        places = asyncio.Semaphore(1)
        for action in ("wait at the door", "slam"):
            episode = guarded(Room(), places)
            await episode.start()
            await episode.step(action)
            await episode.aclose()

    run(main())


def test_a_cancelled_leaving_goes_on() -> None:
    async def main() -> None:
        room = Room()
        episode = guarded(room)
        await episode.start()
        leaving = asyncio.ensure_future(episode.aclose())
        await asyncio.sleep(0)
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
        await until(lambda: room.closed)

    run(main())


@pytest.mark.parametrize(
    ("patterns", "template", "action", "answer", "written"),
    [
        ([], None, "say 3", None, "say 3"),
        ([r"submit (?P<answer>\d+)!"], None, "submit 42!", "42", "submit 42!"),
        (
            [r"(?:send_msg_to_user)\('(.*)'\)"],
            None,
            "send_msg_to_user('it is\n3')",
            "it is\n3",
            "send_msg_to_user('it is\n3')",
        ),
        (["stop"], None, " stop ", "stop", " stop "),
        (["stop"], None, "stop it", None, "stop it"),
        ([], "send({answer!r})", "answer: it's 3", "it's 3", 'send("it\'s 3")'),
        ([], "send({answer!r})", "click 3", None, "click 3"),
    ],
)
def test_final_actions_in_text(
    patterns: list[str], template: str | None, action: str, answer: str | None, written: str
) -> None:
    finals = Finals(patterns, template)
    assert (finals.answer(action), finals.write(action)) == (answer, written)


@pytest.mark.parametrize(
    ("action", "answer", "written"),
    [
        ('{"name": "submit", "arguments": {"text": "3"}}', "3", None),
        ('{"name": "submit", "arguments": {"a": 1, "b": 2}}', '{"a":1,"b":2}', None),
        ('{"name": "look", "arguments": {}}', None, None),
        ('It is "3".', 'It is "3".', {"name": "submit", "arguments": {"text": 'It is "3".'}}),
    ],
)
def test_final_actions_beside_tools(action: str, answer: str | None, written: Any) -> None:
    finals = Finals(["submit"], '{{"name": "submit", "arguments": {{"text": {answer!j}}}}}')
    finals.with_tools = True
    assert finals.answer(action) == answer
    assert json.loads(finals.write(action)) == (written or json.loads(action))


def test_the_environments_own_answers_come_first() -> None:
    async def main() -> None:
        room = Room()
        episode = guarded(room, final_actions=["say .*"], final_template="say {answer}")
        await episode.start()
        assert episode.answer("say 3") == "3"
        await episode.step("say answer 3")
        await episode.step("answer 3")
        assert room.told == ["say answer 3", "say 3"]

    run(main())


@pytest.mark.parametrize(
    "reset",
    [{"a b": 1}, {"x": [1]}, {"x": {"y": 1}}, {"x": "y" * 3000}, {f"a{i}": i for i in range(20)}, {"url": object()}],
)
def test_requests_bring_a_few_plain_values(reset: dict[str, Any]) -> None:
    async def main() -> None:
        catalogue = Catalogue({"there": OpenEnvOptions(kind="openenv", url="http://127.0.0.1:9")})
        with pytest.raises(InvalidRequest) as refusal:
            await catalogue.open("there", reset)
        assert refusal.value.param == "environment"
        await catalogue.aclose()

    run(main())


def test_unknown_names_are_refused() -> None:
    async def main() -> None:
        catalogue = Catalogue({"there": McpOptions(kind="mcp", url="http://127.0.0.1:9/mcp")})
        with pytest.raises(InvalidRequest, match="there are there"):
            await catalogue.open("here")
        assert list(catalogue) == ["there"]
        assert isinstance(catalogue["there"], Toolbox)
        await catalogue.aclose()

    run(main())


def test_the_file_of_the_server(tmp_path: Path) -> None:
    file = tmp_path / "server.toml"
    file.write_text(
        """
        [environments.shop]
        kind = "openenv"
        url = "ws://127.0.0.1:8100"
        api_key = "secret"
        max_concurrent = 3
        reset = { level = 2 }
        [environments.mine]
        kind = "gymnasium"
        id = "tests/Parrot-v0"
        import = ["tests.environments.worlds"]
        """
    )
    environments = load(["--config", str(file)]).environments
    assert environments["shop"].max_concurrent == 3
    assert "secret" not in repr(environments)
    assert list(Catalogue(environments)) == ["shop", "mine"]


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ('kind = "magic"', "does not match any of the expected tags"),
        ('kind = "openenv"\nurl = "ftp://x"', "not an http"),
        ('kind = "openenv"\nurl = "http://me:secret@x"', "use api_key_env"),
        ('kind = "mcp"\nurl = "http://x"\nspeed = 3', "Extra inputs"),
        ('kind = "mcp"\nurl = "http://x"\nfinal_actions = ["("]', "no regular expression"),
        ('kind = "mcp"\nurl = "http://x"\nfinal_template = "x"', "no {answer}"),
    ],
)
def test_mistakes_in_the_file(tmp_path: Path, table: str, told: str) -> None:
    file = tmp_path / "server.toml"
    file.write_text(f"[environments.here]\n{table}\n")
    with pytest.raises(ValueError, match=told) as mistake:
        load(["--config", str(file)])
    assert "secret" not in str(mistake.value)


@pytest.mark.parametrize(
    "options",
    [
        lambda: OpenEnvOptions(kind="openenv", url="http://x", api_key_env="LONGTHINK_TEST_UNSET"),
        lambda: McpOptions(kind="mcp", url="ws://x"),
    ],
)
def test_mistakes_that_are_found_at_the_start(options: Callable[[], Options]) -> None:
    with pytest.raises(ValueError, match=r"environments\.here: "):
        Catalogue({"here": options()})


def test_the_server_acts_in_what_its_file_names(tmp_path: Path) -> None:
    pytest.importorskip("gymnasium", reason="pip install gymnasium")
    file = tmp_path / "server.toml"
    parrot = 'kind = "gymnasium"\nid = "tests/Parrot-v0"\nimport = ["tests.environments.worlds"]'
    file.write_text(f'engine = "scripted"\nport = 0\n[environments.parrot]\n{parrot}\n')
    command = [sys.executable, "-m", "server", "serve", "--config", str(file)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().split()[1]
        body = {"decoder": {"name": "tti", "max_steps": 1}, "environment": {"name": "parrot", "reset": {"seed": 7}}}
        asked = {"model": "scripted", "messages": [{"role": "user", "content": "talk"}], **body}
        reply = httpx.post(f"{url}/chat/completions", json=asked, timeout=30)
        process.terminate()
        assert process.wait(30) == 0
    assert reply.status_code == 200, reply.text
    assert "hello 7 []" in reply.json()["choices"][0]["message"]["reasoning"]


def test_a_mistake_in_the_file_stops_the_server_at_its_start(tmp_path: Path) -> None:
    file = tmp_path / "server.toml"
    file.write_text('engine = "scripted"\nport = 0\n[environments.here]\nkind = "browser"\n')
    command = [sys.executable, "-m", "server", "serve", "--config", str(file)]
    stopped = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert stopped.returncode == 2
    assert "environments.here: start: a URL is needed" in stopped.stderr

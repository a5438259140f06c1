"""Agents in the server's own environments: named by requests or aliases, told step by step, left however it ends."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest

from decoders.core.errors import EnvironmentFailed
from decoders.core.messages import Prompt
from decoders.environments.base import Observation
from server.aliases import Alias, AliasEnvironment
from server.engines.scripted import ScriptedEngine
from server.happenings import SHOWN
from server.settings import Settings
from tests.decoders.boxes import Boxes, Warehouse
from tests.decoders.test_tti import eager
from tests.server.conftest import HELLO, Live, serving, until

SEED = 3
CODE, PLACE = Boxes(SEED).code, Boxes(SEED).place
BOXES = {"name": "boxes", "reset": {"seed": SEED}}


class Talkative(Boxes):
    """Says more than anybody wants to read."""

    async def start(self) -> Observation:
        return Observation("long " * SHOWN)


class Dying(Boxes):
    """Dies at the first action."""

    async def step(self, action: str) -> Observation:
        raise EnvironmentFailed("the browser is gone")


class Places:
    """A server with environments, and what was done in each."""

    def __init__(self, live: Live, made: dict[str, Warehouse]) -> None:
        self.live, self.made = live, made


def agent(prompt: Prompt, seed: int) -> str:
    return "Action: open 1" if "only open" in prompt.messages[0].content else eager(prompt, seed)


@pytest.fixture(scope="module")
def places() -> Iterator[Places]:
    made = {
        "boxes": Warehouse(),
        "tools": Warehouse(tools=True),
        "talkative": Warehouse(Talkative),
        "dying": Warehouse(Dying),
    }
    aliases = {
        "finder": Alias(
            model="base",
            decoder="tti",
            options={"max_steps": 9},
            environment=AliasEnvironment(name="boxes", reset={"seed": SEED}),
        ),
        "hasty": Alias(model="base:tti", options={"min_answers": 1}, environment="boxes"),
    }
    settings = Settings(engine="scripted", aliases=aliases)
    with serving(settings, environments=made, base=ScriptedEngine(agent, model="base")) as live:
        yield Places(live, made)


@pytest.fixture
def client(places: Places) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(
        base_url=f"{places.live.url}/v1", api_key="x", max_retries=0, _strict_response_validation=True
    ) as made:
        yield made


def report(**changes: Any) -> dict[str, Any]:
    usual = {"budget": 30, "steps": PLACE, "left": 30 - PLACE, "answers": 2, "stopped": "answer", "reward": 1.0}
    return {**usual, **changes}


def test_an_agent_answers_and_its_interactions_are_reported(client: openai.OpenAI, places: Places) -> None:
    done = client.chat.completions.create(model="base", messages=HELLO, extra_body={"environment": BOXES})
    choice = done.choices[0]
    assert (choice.message.content, choice.finish_reason) == (CODE, "stop")
    assert done.longthink["interaction"] == report()
    assert done.longthink["decoder"]["name"] == "tti"
    assert f"[box {PLACE} holds the code {CODE}]" in choice.message.reasoning
    assert "(withheld: answer k0)" in choice.message.reasoning
    assert done.usage.completion_tokens == sum(done.longthink["by_role"].values())
    assert places.made["boxes"].logs[-1][-2:] == [f"answer {CODE}", "close"]


def test_a_stream_tells_the_same_step_by_step(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(model="base", messages=HELLO, seed=1, extra_body={"environment": BOXES})
    stream = client.chat.completions.create(
        model="base", messages=HELLO, seed=1, stream=True, extra_body={"environment": BOXES}
    )
    content, reasoning, told, last = "", "", [], None
    for chunk in stream:
        last = chunk
        about = getattr(chunk, "longthink", None) or {}
        told += [about] if "event" in about else []
        content += chunk.choices[0].delta.content or ""
        reasoning += getattr(chunk.choices[0].delta, "reasoning", None) or ""
    assert last is not None
    assert (content, reasoning) == (whole.choices[0].message.content, whole.choices[0].message.reasoning)
    assert last.longthink["interaction"] == report()
    assert [about["event"] for about in told] == ["reset", "recheck", *["step"] * PLACE, "answer"]
    assert [about["n"] for about in told] == [0, 0, *range(1, PLACE + 1), PLACE]
    step = told[2]
    assert (step["action"], step["left"], step["role"]) == ("open 1", 29, "env")
    assert step["observation"].startswith("box 1 holds")
    assert "observation" not in told[1]
    assert told[-1]["reward"] == 1.0


def test_reset_arguments_choose_the_episode_and_the_seed_does_where_they_do_not(client: openai.OpenAI) -> None:
    def found(seed: int, reset: dict[str, Any]) -> str | None:
        extra = {"environment": {"name": "boxes", "reset": reset}}
        done = client.chat.completions.create(model="base", messages=HELLO, seed=seed, extra_body=extra)
        assert done.longthink["interaction"]["reward"] == 1.0
        return done.choices[0].message.content

    assert found(1, {"seed": SEED}) == found(2, {"seed": SEED}) == CODE
    assert found(5, {}) == found(5, {"boxes": 5}) == Boxes(5).code
    assert found(-5, {}) == Boxes(2**31 - 5).code


def test_the_budget_of_interactions_is_an_option(client: openai.OpenAI) -> None:
    extra = {"environment": BOXES, "decoder": {"max_steps": 1}}
    done = client.chat.completions.create(model="base", messages=HELLO, extra_body=extra)
    assert done.choices[0].finish_reason == "stop"
    assert done.longthink["interaction"]["stopped"] == "budget"
    assert done.longthink["interaction"]["steps"] == 1
    cut = client.chat.completions.create(model="base", messages=HELLO, extra_body=extra, max_completion_tokens=5)
    assert (cut.choices[0].message.content, cut.choices[0].finish_reason) == ("k0", "length")
    assert cut.longthink["interaction"] == report(budget=1, steps=0, left=1, answers=1, stopped="tokens", reward=0.0)


def test_an_alias_is_all_that_a_client_needs(client: openai.OpenAI) -> None:
    done = client.chat.completions.create(model="finder", messages=HELLO)
    assert (done.model, done.choices[0].message.content) == ("finder", CODE)
    assert done.longthink["interaction"] == report(budget=9, left=9 - PLACE)
    own = client.chat.completions.create(model="finder", messages=HELLO, extra_body={"decoder": {"min_answers": 1}})
    assert own.longthink["interaction"]["answers"] == 1
    assert own.longthink["decoder"]["max_steps"] == 9
    hasty = client.chat.completions.create(model="hasty", messages=HELLO)
    assert hasty.longthink["decoder"]["min_answers"] == 1
    assert {"finder", "hasty"} <= {model.id for model in client.models.list()}
    assert client.models.retrieve("finder").parent == "base"


def test_environments_are_listed(places: Places) -> None:
    listed = httpx.get(f"{places.live.url}/v1/environments").json()
    assert listed["data"][0] == {"id": "boxes", "object": "environment"}
    assert [entry["id"] for entry in listed["data"]] == list(places.made)


def test_responses_act_too(client: openai.OpenAI) -> None:
    done = client.responses.create(model="base", input="find it", extra_body={"environment": BOXES})
    assert done.output_text == CODE
    assert done.longthink["interaction"] == report()
    events = list(client.responses.create(model="finder", input="find it", stream=True))
    deltas = [event for event in events if event.type == "response.reasoning_text.delta"]
    told = [about["event"] for event in deltas if (about := getattr(event, "longthink", None))]
    assert told == ["reset", "recheck", *["step"] * PLACE, "answer"]
    assert events[-1].response.output_text == CODE


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"environment": "nowhere"}, "environment", "environment_not_found"),
        ({"environment": 3}, "environment", "invalid_value"),
        ({"environment": {"name": "boxes", "url": "ws://x"}}, "environment", "invalid_value"),
        ({"environment": {"name": "boxes", "reset": {"level": 9}}}, "environment", "invalid_value"),
        ({"environment": "boxes", "decoder": "rc"}, "environment", "unsupported_parameter"),
        ({"environment": "boxes", "n": 2}, "n", "invalid_value"),
        ({"environment": "boxes", "stop": ["x"]}, "stop", "invalid_value"),
        ({"environment": "boxes", "response_format": {"type": "json_object"}}, "response_format", "invalid_value"),
        ({"decoder": "tti"}, "decoder", "decoder_not_supported"),
        ({"decoder": {"name": "best_of_n", "inner": "tti"}}, "decoder", "decoder_not_supported"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_what_cannot_be_is_refused_by_name(
    places: Places, fields: dict[str, Any], param: str, code: str, stream: bool
) -> None:
    refused = places.live.ask(**fields, stream=stream)
    assert refused.status_code == 400, refused.text
    assert (refused.json()["error"]["param"], refused.json()["error"]["code"]) == (param, code)


def test_tools_of_an_environment_are_for_the_model_alone(places: Places) -> None:
    refused = places.live.ask(environment="tools", decoder={"name": "tti", "inner": "direct"})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "decoder.inner")
    assert places.made["tools"].closed


def test_an_environment_that_fails_is_a_typed_error(places: Places) -> None:
    failed = places.live.ask(environment="dying", decoder={"min_answers": 1})
    assert failed.status_code == 502
    assert failed.json()["error"]["code"] == "environment_failed"
    assert "browser is gone" in failed.json()["error"]["message"]
    events = places.live.events(environment="dying", decoder={"min_answers": 1})
    assert events[-1]["error"]["code"] == "environment_failed"
    assert "[DONE]" not in events
    kept = places.live.ask(environment="dying").json()  # the answer was withheld, so there is one
    assert kept["choices"][0]["message"]["content"] == "k0"
    assert kept["longthink"]["interaction"]["stopped"] == "error"
    assert places.made["dying"].closed


def test_what_an_environment_says_is_bounded(places: Places) -> None:
    body = places.live.ask(environment="talkative", decoder={"max_steps": 0}).json()
    assert len(body["choices"][0]["message"]["reasoning"]) < SHOWN + 200
    assert "8,000 more characters" in body["choices"][0]["message"]["reasoning"]


def test_a_client_that_leaves_ends_the_episode() -> None:
    made = Warehouse()
    engine = ScriptedEngine(["Action: open 1"], model="base", token_delay=0.01)
    with serving(environments={"boxes": made}, base=engine) as live:
        for number, stream in enumerate((True, False), 1):
            connection = live.raw(environment="boxes", stream=stream, decoder={"max_steps": 10_000})
            assert until(lambda number=number: len(made.logs) == number and "open 1" in made.logs[-1], 10)
            connection.close()
            assert until(lambda: made.closed and engine.open_calls == 0, 10)


def test_a_background_response_that_is_cancelled_says_so(client: openai.OpenAI) -> None:
    made = Warehouse()
    engine = ScriptedEngine(["Action: open 1"], model="base", token_delay=0.01)
    with serving(environments={"boxes": made}, base=engine) as live:
        body = {"model": "base", "input": "go", "background": True, "environment": "boxes"}
        started = httpx.post(f"{live.url}/v1/responses", json={**body, "decoder": {"max_steps": 10_000}}).json()
        assert until(lambda: bool(made.logs) and "open 1" in made.logs[-1], 10)
        ended = httpx.post(f"{live.url}/v1/responses/{started['id']}/cancel").json()
        assert ended["status"] == "cancelled"
        assert ended["longthink"]["interaction"]["stopped"] == "cancelled"
        assert made.closed


@pytest.mark.parametrize(
    "alias", [Alias(model="nobody"), Alias(model="base", decoder="tti", options={"max_steps": -1}),
              Alias(model="base", environment="nowhere"), Alias(model="base:nope")],
)  # fmt: skip
def test_an_alias_that_means_nothing_is_refused_at_the_start(alias: Alias) -> None:
    with (
        pytest.raises(Exception, match=r"nobody|max_steps|nowhere|nope"),
        serving(Settings(engine="scripted", aliases={"it": alias})),
    ):
        pass

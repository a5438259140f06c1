"""Tools of the type `mcp`: the official client sees lists and calls as OpenAI's own server tells them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest

from decoders.core.messages import Prompt
from server.engines.scripted import ScriptedEngine
from tests.decoders.boxes import OPEN, Boxes, Warehouse
from tests.server.conftest import Live, serving

URL = "http://tools.example/mcp"
MCP: dict[str, Any] = {"type": "mcp", "server_label": "boxes", "server_url": URL, "require_approval": "never"}


class Tools(Warehouse):
    """A factory as the MCP kind has it."""

    url = URL + "/"

    async def __call__(self, reset: Any) -> Boxes:
        assert reset == {}
        return await super().__call__({"seed": 3})


def agent(prompt: Prompt, seed: int) -> str:
    """Opens a box that is there, one that is not, then answers."""
    made = [call for message in prompt.messages for call in message.tool_calls]
    if len(made) == 2 or not prompt.tools:
        return "the first box is empty"
    call = json.dumps({"name": "open", "arguments": {"box": 1 + 98 * len(made)}})
    return f"<tool_call>{call}</tool_call>"


@pytest.fixture(scope="module")
def made() -> Tools:
    return Tools(tools=True)


@pytest.fixture(scope="module")
def live(made: Tools) -> Iterator[Live]:
    environments = {"boxes": made, "plain": Warehouse()}
    with serving(environments=environments, base=ScriptedEngine(agent, model="base")) as running:
        yield running


@pytest.fixture
def client(live: Live) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(
        base_url=f"{live.url}/v1", api_key="x", max_retries=0, _strict_response_validation=True
    ) as connected:
        yield connected


def test_calls_are_items_of_one_response(client: openai.OpenAI, made: Tools) -> None:
    done = client.responses.create(model="base", input="what is in the first box?", tools=[MCP])
    assert done.output_text == "the first box is empty"
    assert [item.type for item in done.output] == ["mcp_list_tools", "mcp_call", "mcp_call", "reasoning", "message"]
    listed, good, bad, thought, _ = done.output
    assert [part.text for part in thought.content] == ["the first box is empty", "(answer: the first box is empty)"]
    assert (listed.server_label, [tool.name for tool in listed.tools]) == ("boxes", ["open"])
    assert listed.tools[0].input_schema == json.loads(OPEN)[0]["function"]["parameters"]
    assert (good.name, good.arguments, good.output) == ("open", '{"box":1}', "box 1 holds nothing")
    assert (good.status, good.error) == ("completed", None)
    assert (bad.status, bad.output) == ("failed", None)
    assert bad.error.content == [{"type": "text", "text": "that cannot be done"}]
    assert done.longthink["interaction"]["answers"] == 1
    assert made.closed


def test_a_stream_tells_them_as_they_come(client: openai.OpenAI) -> None:
    events = list(client.responses.create(model="base", input="look", tools=[MCP], stream=True))
    kinds = [event.type for event in events if "mcp" in event.type]
    call = ["in_progress", "arguments.delta", "arguments.done"]
    assert kinds == [
        "response.mcp_list_tools.in_progress",
        "response.mcp_list_tools.completed",
        *(f"response.mcp_call{'_' if 'arguments' in part else '.'}{part}" for part in [*call, "completed"]),
        *(f"response.mcp_call{'_' if 'arguments' in part else '.'}{part}" for part in [*call, "failed"]),
    ]
    added = [event.output_index for event in events if event.type == "response.output_item.added"]
    done = [event.output_index for event in events if event.type == "response.output_item.done"]
    assert added == done == list(range(5))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert [item.type for item in events[-1].response.output][:2] == ["mcp_list_tools", "mcp_call"]


def test_the_items_may_come_back(client: openai.OpenAI) -> None:
    first = client.responses.create(model="base", input="look", tools=[MCP])
    again = client.responses.create(model="base", input="and now?", previous_response_id=first.id, tools=[MCP])
    assert again.output_text
    echoed = [{"role": "user", "content": "look"}, *(item.model_dump() for item in first.output)]
    third = client.responses.create(model="base", input=[*echoed, {"role": "user", "content": "so?"}], tools=[MCP])
    assert third.output_text


def test_the_number_of_calls_has_a_limit(client: openai.OpenAI) -> None:
    done = client.responses.create(model="base", input="look", tools=[MCP], max_tool_calls=1)
    assert [item.type for item in done.output] == ["mcp_list_tools", "mcp_call", "reasoning", "message"]
    assert done.max_tool_calls == 1
    assert done.longthink["interaction"]["stopped"] == "budget"


def test_a_server_may_be_named_by_its_label(client: openai.OpenAI) -> None:
    named = {name: value for name, value in MCP.items() if name != "server_url"}
    assert client.responses.create(model="base", input="look", tools=[named]).output_text


def test_it_is_an_environment_like_any_other(client: openai.OpenAI) -> None:
    ask: Any = [{"role": "user", "content": "look"}]
    done = client.chat.completions.create(model="base", messages=ask, extra_body={"environment": "boxes"})
    assert done.choices[0].message.content == "the first box is empty"
    assert done.longthink["interaction"]["answers"] == 2


@pytest.mark.parametrize("allowed", [[], {"tool_names": ["other"]}])
def test_tools_that_are_not_allowed_are_not_there(client: openai.OpenAI, allowed: Any) -> None:
    done = client.responses.create(model="base", input="look", tools=[{**MCP, "allowed_tools": allowed}])
    assert [item.type for item in done.output] == ["mcp_list_tools", "reasoning", "message"]
    assert done.output[0].tools == []
    assert done.longthink["interaction"]["steps"] == 0


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tools": [{**MCP, "server_url": "http://elsewhere/mcp"}]}, "tools"),
        ({"tools": [{**MCP, "server_url": None, "server_label": "plain"}]}, "tools"),
        ({"tools": [{**MCP, "require_approval": "always"}]}, "tools[0].require_approval"),
        ({"tools": [{k: v for k, v in MCP.items() if k != "require_approval"}]}, "tools[0].require_approval"),
        ({"tools": [{**MCP, "authorization": "secret"}]}, "tools[0].authorization"),
        ({"tools": [{**MCP, "headers": {"x": "y"}}]}, "tools[0].headers"),
        ({"tools": [MCP, MCP]}, "tools"),
        ({"tools": [MCP, {"type": "function", "name": "f"}]}, "tools"),
        ({"tools": [MCP], "environment": "plain"}, "tools"),
        ({"tools": [MCP], "decoder": "rc"}, "tools"),
        ({"max_tool_calls": 2}, "max_tool_calls"),
    ],
)
def test_what_may_not_be_is_refused_by_name(live: Live, fields: dict[str, Any], param: str) -> None:
    refused = httpx.post(f"{live.url}/v1/responses", json={"model": "base", "input": "look", **fields})
    assert refused.status_code == 400, refused.text
    assert refused.json()["error"]["param"] == param
    assert "secret" not in refused.text

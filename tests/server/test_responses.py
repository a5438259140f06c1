"""/v1/responses by the official client: created, streamed, followed, cancelled, deleted, forgotten."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from server.api.responses_wire import ResponsesRequest
from server.engines.scripted import ScriptedEngine
from server.settings import Settings
from tests.server.conftest import Live, serving, until

REPLY = "<think>one two three</think>four five"
CALL = '<tool_call>{"name": "weather", "arguments": {"city": "Oslo"}}</tool_call>'
WEATHER: dict[str, Any] = {"type": "function", "name": "weather", "parameters": {"type": "object"}, "strict": False}
RANDOM = {"id", "item_id", "created_at", "completed_at", "call_id"}


def client_of(running: Live) -> openai.OpenAI:
    return openai.OpenAI(
        base_url=f"{running.url}/v1", api_key="x", max_retries=0, timeout=20, _strict_response_validation=True
    )


@pytest.fixture(scope="module")
def speaking() -> Iterator[Live]:
    with serving(base=ScriptedEngine([REPLY], model="base")) as running:
        yield running


@pytest.fixture
def client(speaking: Live) -> Iterator[openai.OpenAI]:
    with client_of(speaking) as made:
        yield made


@pytest.fixture
def slow() -> Iterator[Live]:
    """Speaks 5000 words at 100 a second."""
    engine = ScriptedEngine(["word " * 5000], model="base", token_delay=0.01)
    with serving(base=engine) as running:
        yield running


def plain(value: Any) -> Any:
    """A model's content without what differs from run to run."""
    if isinstance(value, dict):
        return {name: plain(inner) for name, inner in value.items() if name not in RANDOM}
    return [plain(inner) for inner in value] if isinstance(value, list) else value


def request(running: Live, method: str, path: str = "", **options: Any) -> httpx.Response:
    return httpx.request(method, f"{running.url}/v1/responses{path}", timeout=20, **options)


def post(running: Live, **fields: Any) -> httpx.Response:
    return request(running, "POST", json={"model": "base", "input": "hello there", **fields})


def ended(client: openai.OpenAI, id: str) -> Any:
    assert until(lambda: client.responses.retrieve(id).status not in ("queued", "in_progress"), 10)
    return client.responses.retrieve(id)


def test_whole_response(client: openai.OpenAI) -> None:
    done = client.responses.create(model="base", input="hello there", metadata={"a": "b"}, max_output_tokens=99)
    assert (done.status, done.output_text, done.metadata) == ("completed", "four five", {"a": "b"})
    assert [item.type for item in done.output] == ["reasoning", "message"]
    assert [part.text for part in done.output[0].content] == ["one two three"]
    assert (done.usage.input_tokens, done.usage.output_tokens, done.usage.total_tokens) == (2, 4, 6)
    assert done.usage.output_tokens_details.reasoning_tokens == 3
    assert done.longthink["budget"] == {"tokens": 99, "spent": 4}
    assert client.responses.retrieve(done.id) == done


@pytest.mark.parametrize("decoder", ["direct", "rc", "self_consistency", "best_of_n"])
def test_stream_says_what_the_whole_response_says(client: openai.OpenAI, decoder: str) -> None:
    asked: dict[str, Any] = {"model": f"base:{decoder}", "input": "hello", "extra_body": {"seed": 5}}
    whole = client.responses.create(**asked)
    events = list(client.responses.create(**asked, stream=True))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert [event.type for event in events[:2]] == ["response.created", "response.in_progress"]
    assert events[-1].type == "response.completed"
    assert plain(events[-1].response.model_dump()) == plain(whole.model_dump())
    assert client.responses.retrieve(events[-1].response.id) == events[-1].response
    told: dict[tuple[str, int], str] = {}
    for event in events:
        if event.type.endswith("_text.delta"):
            place = (event.item_id, event.content_index)
            told[place] = told.get(place, "") + event.delta
        elif event.type.endswith("_text.done"):
            assert event.text == told.pop((event.item_id, event.content_index))
    assert not told
    added = [event.item.id for event in events if event.type == "response.output_item.added"]
    assert added == [event.item.id for event in events if event.type == "response.output_item.done"]
    assert added == [item.id for item in events[-1].response.output]


def test_each_step_is_a_part_of_the_reasoning(client: openai.OpenAI) -> None:
    done = client.responses.create(model="base", input="hi", extra_body={"decoder": {"name": "rc", "turns": 3}})
    parts = [part.text for part in done.output[0].content]
    assert len(parts) == 5
    assert not any(part.startswith("\n") for part in parts)


def test_the_clients_own_stream_reader_understands(client: openai.OpenAI) -> None:
    with client.responses.stream(model="base", input="hello") as stream:
        kinds = {event.type for event in stream}
        final = stream.get_final_response()
    assert final.output_text == "four five"
    assert {"response.reasoning_text.delta", "response.output_text.delta", "response.content_part.done"} <= kinds


def test_an_empty_purse_is_incomplete(client: openai.OpenAI) -> None:
    done = client.responses.create(model="base", input="hi", max_output_tokens=2)
    assert (done.status, done.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    events = list(client.responses.create(model="base", input="hi", max_output_tokens=2, stream=True))
    assert events[-1].type == "response.incomplete"
    assert done.usage.output_tokens == 2


def test_logprobs_of_the_answer(client: openai.OpenAI) -> None:
    done = client.responses.create(model="base", input="hi", include=["message.output_text.logprobs"], top_logprobs=2)
    assert [entry.token for entry in done.output[1].content[0].logprobs] == [" five"]


def test_a_conversation_goes_on_from_a_stored_response() -> None:
    heard: list[Any] = []

    def reply(prompt: Any, seed: int) -> str:
        heard.append([(message.role, message.content) for message in prompt.messages])
        return f"<think>so</think>reply {len(heard)}"

    with serving(base=ScriptedEngine(reply, model="base")) as running, client_of(running) as client:
        first = client.responses.create(model="base", input="one", instructions="be brief")
        second = client.responses.create(model="base", input="two", previous_response_id=first.id)
        items: list[Any] = [
            {"role": "developer", "content": [{"type": "input_text", "text": "be kind"}]},
            {"type": "message", "role": "user", "content": "three"},
        ]
        client.responses.create(model="base", input=items, previous_response_id=second.id, store=False)
        with pytest.raises(openai.BadRequestError) as missing:
            client.responses.create(model="base", input="x", previous_response_id="resp_nobody")
        assert missing.value.param == "previous_response_id"
        client.responses.delete(first.id)
        client.responses.create(model="base", input="three", previous_response_id=second.id)
    talk = [("user", "one"), ("assistant", "reply 1"), ("user", "two")]
    assert heard[0] == [("system", "be brief"), ("user", "one")]
    assert heard[1] == talk
    assert heard[2] == [*talk, ("assistant", "reply 2"), ("system", "be kind"), ("user", "three")]
    assert heard[3] == [*talk, ("assistant", "reply 2"), ("user", "three")]


def test_input_items_are_listed(client: openai.OpenAI) -> None:
    asked: list[Any] = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b"},
        {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "d"},
        {"role": "user", "content": [{"type": "input_text", "text": "e"}]},
    ]
    done = client.responses.create(model="base", input=asked)
    listed = client.responses.input_items.list(done.id, order="asc", limit=3)
    assert [item.type for item in listed] == [
        "message",
        "message",
        "function_call",
        "function_call_output",
        "message",
    ]  # the client has turned the page
    latest = client.responses.input_items.list(done.id, limit=1)
    assert (latest.data[0].content[0].text, latest.has_more) == ("e", True)


def test_functions_there_and_back() -> None:
    heard: list[Any] = []

    def reply(prompt: Any, seed: int) -> str:
        heard.append(prompt)
        return CALL if prompt.messages[-1].role == "user" else "cold"

    with serving(base=ScriptedEngine(reply, model="base")) as running, client_of(running) as client:
        asked: dict[str, Any] = {"model": "base", "tools": [WEATHER]}
        done = client.responses.create(**asked, input="weather?", tool_choice={"type": "function", "name": "weather"})
        (call,) = [item for item in done.output if item.type == "function_call"]
        assert json.loads(call.arguments) == {"city": "Oslo"}
        events = list(client.responses.create(**asked, input="weather?", stream=True))
        (told,) = [event for event in events if event.type == "response.function_call_arguments.done"]
        assert (told.name, told.arguments) == ("weather", call.arguments)
        result: Any = {"type": "function_call_output", "call_id": call.call_id, "output": "-3 degrees"}
        linked = client.responses.create(**asked, input=[result], previous_response_id=done.id)
        again = client.responses.create(**asked, input=[{"role": "user", "content": "weather?"}, *done.output, result])
        assert linked.output_text == again.output_text == "cold"
    assert json.loads(heard[0].tool_choice)["function"]["name"] == "weather"
    for prompt in heard[-2:]:
        assert [message.role for message in prompt.messages] == ["user", "assistant", "tool"]
        assert prompt.messages[1].tool_calls[0].name == "weather"


def test_json_of_a_schema() -> None:
    form: Any = {"type": "json_schema", "name": "a", "schema": {"type": "object", "required": ["a"]}, "strict": True}
    with serving(base=ScriptedEngine(['{"a": 1}'], model="base")) as running, client_of(running) as client:
        done = client.responses.create(model="base", input="hi", text={"format": form})
        assert json.loads(done.output_text) == {"a": 1}
        assert done.text.format.name == "a"


def test_images_reach_the_engine() -> None:
    heard: list[Any] = []

    def reply(prompt: Any, seed: int) -> str:
        heard.append(prompt.messages[-1].wire()["content"])
        return "fine"

    with serving(base=ScriptedEngine(reply, model="base")) as running, client_of(running) as client:
        parts: Any = [
            {"type": "input_text", "text": "see"},
            {"type": "input_image", "image_url": "data:x", "detail": "low"},
        ]
        done = client.responses.create(model="base", input=[{"role": "user", "content": parts}])
        assert client.responses.input_items.list(done.id).data[0].content[1].image_url == "data:x"
    assert heard[0][1] == {"type": "image_url", "image_url": {"url": "data:x", "detail": "low"}}


def test_a_background_response_is_the_same_as_one_in_front(client: openai.OpenAI) -> None:
    asked: dict[str, Any] = {"model": "base:rc", "input": "hello", "extra_body": {"seed": 5}}
    begun = client.responses.create(**asked, background=True)
    assert (begun.status, begun.output) == ("queued", [])
    done, front = ended(client, begun.id), client.responses.create(**asked)
    assert done.status == "completed"
    assert plain(done.model_dump(exclude={"background"})) == plain(front.model_dump(exclude={"background"}))


def test_reconnecting_after_any_event_gives_the_rest(client: openai.OpenAI, speaking: Live) -> None:
    stream = client.responses.create(model="base", input="hello", background=True, stream=True)
    events = list(stream)
    id = events[0].response.id
    kinds = [event.type for event in events[:3]]
    assert kinds == ["response.created", "response.queued", "response.in_progress"]
    assert events[-1].type == "response.completed"
    raw = request(speaking, "GET", f"/{id}", params={"stream": "true"}).content
    blocks = [block + b"\n\n" for block in raw.split(b"\n\n") if block]
    assert len(blocks) == len(events)
    for number in range(-1, len(events)):
        options = {"stream": "true"} | ({"starting_after": str(number)} if number >= 0 else {})
        rest = request(speaking, "GET", f"/{id}", params=options)
        assert (rest.status_code, rest.content) == (200, b"".join(blocks[number + 1 :]))
    assert list(client.responses.retrieve(id, stream=True, starting_after=3)) == events[4:]


def test_a_run_is_followed_live_by_whoever_comes(slow: Live) -> None:
    with client_of(slow) as client:
        with client.responses.create(model="base", input="hi", background=True, stream=True) as stream:
            seen = [next(stream) for _ in range(8)]
        id = seen[0].response.id
        assert slow.engine.open_calls == 1  # the client has left, the run goes on
        with client.responses.retrieve(id, stream=True, starting_after=seen[-1].sequence_number) as stream:
            more = [next(stream) for _ in range(5)]
        assert [event.sequence_number for event in more] == list(range(8, 13))
        assert client.responses.retrieve(id).status == "in_progress"
        client.responses.cancel(id)


def test_cancelling_stops_the_engine_and_ends_the_log(slow: Live) -> None:
    with client_of(slow) as client:
        with client.responses.create(model="base", input="hi", background=True, stream=True) as stream:
            seen = [next(stream) for _ in range(6)]
            asked = time.monotonic()
            cancelled = client.responses.cancel(seen[0].response.id)
            assert until(lambda: slow.engine.open_calls == 0, 1)
            assert time.monotonic() - asked < 0.1
            rest = list(stream)
        assert cancelled.status == "cancelled"
        assert (rest[-1].type, rest[-1].response) == ("response.incomplete", cancelled)
        assert cancelled.output[0].status == "incomplete"
        said = "".join(event.delta for event in [*seen, *rest] if event.type == "response.output_text.delta")
        assert cancelled.output_text == said
        assert cancelled.usage.output_tokens == len(said.split()) > 0
        assert client.responses.cancel(cancelled.id) == cancelled
        assert client.responses.retrieve(cancelled.id) == cancelled
        assert until(lambda: slow.metric("longthink:cancelled_total") == 1, 1)


def test_deleting_ends_a_run_and_forgets_it(slow: Live) -> None:
    with client_of(slow) as client:
        begun = client.responses.create(model="base", input="hi", background=True)
        assert until(lambda: slow.engine.open_calls == 1, 2)
        client.responses.delete(begun.id)
        assert slow.engine.open_calls == 0
        for forgotten in (client.responses.retrieve, client.responses.delete, client.responses.cancel):
            with pytest.raises(openai.NotFoundError):
                forgotten(begun.id)


def test_a_client_that_leaves_a_response_in_front_ends_it(slow: Live) -> None:
    with client_of(slow) as client:
        with client.responses.create(model="base", input="hi", stream=True) as stream:
            first = next(stream)
            next(stream)
        left = time.monotonic()
        assert until(lambda: slow.engine.open_calls == 0, 2)
        assert time.monotonic() - left < 0.1
        with pytest.raises(openai.NotFoundError):
            client.responses.retrieve(first.response.id)


def test_a_server_that_ends_ends_its_background_runs() -> None:
    engine = ScriptedEngine(["word " * 5000], model="base", token_delay=0.01)
    with serving(base=engine) as running:
        assert post(running, background=True).status_code == 200
        assert until(lambda: engine.open_calls == 1, 2)
    assert engine.open_calls == 0


def test_background_runs_count_as_requests_in_progress() -> None:
    engine = ScriptedEngine(["word " * 5000], model="base", token_delay=0.01)
    with serving(Settings(engine="scripted", max_requests=1), base=engine) as running:
        begun = post(running, background=True).json()
        refused = post(running, background=True)
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "overloaded")
        request(running, "POST", f"/{begun['id']}/cancel")
        assert post(running, max_output_tokens=1).status_code == 200


def test_the_oldest_are_forgotten() -> None:
    settings = Settings(engine="scripted", stored_responses=2)
    with serving(settings, base=ScriptedEngine([REPLY], model="base")) as running:
        ids = [post(running).json()["id"] for _ in range(3)]
        assert [request(running, "GET", f"/{id}").status_code for id in ids] == [404, 200, 200]
        unstored = post(running, store=False).json()
        assert request(running, "GET", f"/{unstored['id']}").status_code == 404


def test_a_failure_is_told_and_kept() -> None:
    class Failing(ScriptedEngine):
        async def generate(self, prompt: Any, sampling: Any) -> Any:
            async for chunk in super().generate(prompt, sampling):
                yield chunk
                if self.calls > 1:
                    raise RuntimeError("the card fell off the bus")

    with serving(base=Failing([REPLY], model="base")) as running, client_of(running) as client:
        events = list(client.responses.create(model="base:rc", input="hi", stream=True))
        assert (events[-1].type, events[-1].response.status) == ("response.failed", "failed")
        assert "fell off" in events[-1].response.error.message
        begun = client.responses.create(model="base:rc", input="hi", background=True)
        done = ended(client, begun.id)
        assert (done.status, done.error.code) == ("failed", "server_error")
        with pytest.raises(openai.BadRequestError):
            client.responses.create(model="base", input="x", previous_response_id=done.id)
        assert post(running).status_code == 500


BAD: list[tuple[dict[str, Any], str]] = [
    ({"input": None}, "input"),
    ({"input": ""}, "input"),
    ({"input": []}, "input"),
    ({"input": [3]}, "input[0]"),
    ({"input": [{"type": "item_reference", "id": "x"}]}, "input[0].type"),
    ({"input": [{"role": "robot", "content": "x"}]}, "input[0].role"),
    ({"input": [{"role": "user"}]}, "input[0].content"),
    ({"input": [{"role": "user", "content": [{"type": "input_file"}]}]}, "input[0].content[0].type"),
    ({"input": [{"role": "user", "content": [{"type": "input_text"}]}]}, "input[0].content[0].text"),
    ({"input": [{"role": "user", "content": "x", "colour": "red"}]}, "input[0].colour"),
    ({"input": [{"role": "assistant", "content": "x"}]}, "input"),
    ({"input": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "x"}]}, "input"),
    (
        {"input": [{"role": "user", "content": "x"}, {"type": "function_call_output", "call_id": "c", "output": "y"}]},
        "input[1]",
    ),
    ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
    ({"tool_choice": "required"}, "tool_choice"),
    ({"truncation": "auto"}, "truncation"),
    ({"conversation": "conv_1"}, "conversation"),
    ({"prompt": {"id": "p"}}, "prompt"),
    ({"max_tool_calls": 3}, "max_tool_calls"),
    ({"background": True, "store": False}, "store"),
    ({"reasoning": {"effort": "heroic"}}, "reasoning.effort"),
    ({"reasoning": {"summary": "detailed"}}, "reasoning.summary"),
    ({"include": ["file_search_call.results"]}, "include[0]"),
    ({"top_logprobs": 3}, "top_logprobs"),
    ({"stream_options": {}}, "stream_options"),
    ({"text": {"format": {"type": "json_schema", "schema": {"type": 3}}}}, "text.format"),
    ({"max_output_tokens": 10**9}, "max_output_tokens"),
    ({"max_tokens": 5}, "max_tokens"),
    ({"metadata": {"a": 3}}, "metadata.a"),
    ({"decoder": {"name": "rc", "turns": 0}}, "decoder.turns"),
]


@pytest.mark.parametrize(("fields", "param"), BAD, ids=[json.dumps(b[0])[:60] for b in BAD])
def test_refused_by_name(live: Live, fields: dict[str, Any], param: str) -> None:
    response = post(live, **fields)
    assert (response.status_code, response.json()["error"]["param"]) == (400, param), response.text


@pytest.mark.parametrize(
    ("method", "path", "query", "status", "param"),
    [
        ("GET", "", {"stream": "maybe"}, 400, "stream"),
        ("GET", "", {"stream": "true"}, 400, "stream"),
        ("GET", "", {"starting_after": "x"}, 400, "starting_after"),
        ("GET", "", {"colour": "red"}, 400, "colour"),
        ("POST", "/cancel", {}, 400, "response_id"),
        ("GET", "/input_items", {"limit": "0"}, 400, "limit"),
        ("GET", "/input_items", {"order": "up"}, 400, "order"),
        ("GET", "/input_items", {"after": "x"}, 400, "after"),
        ("GET", "x", {}, 404, "response_id"),
        ("DELETE", "x", {}, 404, "response_id"),
        ("GET", "x/input_items", {}, 404, "response_id"),
    ],
)
def test_stored_responses_refuse_by_name(
    live: Live, method: str, path: str, query: dict[str, str], status: int, param: str
) -> None:
    id = post(live).json()["id"]
    response = request(live, method, f"/{id}{path}", params=query)
    assert (response.status_code, response.json()["error"]["param"]) == (status, param), response.text


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@hypothesis_settings(max_examples=100, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(fields=st.dictionaries(st.sampled_from(sorted(ResponsesRequest.model_fields)), _JSON, max_size=3))
def test_any_value_in_any_field_is_answered_or_refused(live: Live, fields: dict[str, Any]) -> None:
    body = json.dumps({"model": "base", "input": "hello", **fields}).encode("utf-8", "surrogatepass")
    response = request(live, "POST", content=body, headers={"content-type": "application/json"})
    assert response.status_code in (200, 400, 404), response.text
    if response.status_code != 200:
        assert response.json()["error"]["message"]

"""Completions that outlive their request: in the background, under an idempotency key, seen from anywhere in them."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest

from server.engines.scripted import ScriptedEngine
from tests.server.conftest import HELLO, Live, serving, until

PATH = "/v1/chat/completions"
RC = {"decoder": {"name": "rc", "turns": 3}, "seed": 5}


@pytest.fixture(scope="module")
def quick() -> Iterator[Live]:
    with serving(base=ScriptedEngine(model="base", context_length=33_000)) as running:
        yield running


@pytest.fixture
def slow() -> Iterator[Live]:
    """Speaks 200 words at 100 a second."""
    with serving(base=ScriptedEngine(["word " * 200], model="base", token_delay=0.01)) as running:
        yield running


def ask(running: Live, method: str = "POST", path: str = "", **options: Any) -> httpx.Response:
    return httpx.request(method, f"{running.url}{PATH}{path}", timeout=20, **options)


def begin(running: Live, key: str | None = None, **fields: Any) -> httpx.Response:
    headers = {} if key is None else {"idempotency-key": key}
    return ask(running, json={"model": "base", "messages": HELLO, **fields}, headers=headers)


def ended(running: Live, id: str) -> Any:
    assert until(lambda: status(running, id) not in ("queued", "in_progress"), 10)
    return ask(running, "GET", f"/{id}").json()


def status(running: Live, id: str) -> str:
    found: str = ask(running, "GET", f"/{id}").json()["longthink"]["status"]
    return found


def events(data: bytes) -> list[tuple[int, Any]]:
    """Numbers and contents of a stream's events."""
    found = []
    for event in data.split(b"\n\n")[:-1]:
        first, second = event.split(b"\n")
        text = second.removeprefix(b"data: ")
        found.append((int(first.removeprefix(b"id: ")), json.loads(text) if text.startswith(b"{") else text.decode()))
    return found


def without(body: Any, *names: str) -> Any:
    return {name: value for name, value in body.items() if name not in names}


@pytest.mark.parametrize("n", [1, 2])
def test_the_background_gives_what_the_foreground_gives(quick: Live, n: int) -> None:
    whole = begin(quick, n=n, **RC).json()
    queued = begin(quick, n=n, background=True, **RC).json()
    assert (queued["object"], queued["choices"], queued["longthink"]) == ("chat.completion", [], {"status": "queued"})
    done = ended(quick, queued["id"])
    assert done["longthink"].pop("status") == "completed"
    assert without(done, "id", "created") == without(whole, "id", "created")


@pytest.mark.parametrize("n", [1, 2])
def test_a_stream_in_the_background_is_a_stream(quick: Live, n: int) -> None:
    fields = {"n": n, "stream": True, "stream_options": {"include_usage": True}, **RC}
    live = begin(quick, **fields).content
    told = events(begin(quick, background=True, **fields).content)
    assert [number for number, _ in told] == list(range(len(told)))
    assert told[-1][1] == "[DONE]"
    again = b"".join(b"id: %d\n%b\n\n" % (i, event) for i, event in enumerate(live.split(b"\n\n")[:-1]))

    def said(stream: list[tuple[int, Any]]) -> dict[tuple[int, str], str]:
        texts: dict[tuple[int, str], str] = {}
        for _, event in stream[:-1]:
            for choice in event["choices"]:
                for channel in ("reasoning", "content"):
                    place = (choice["index"], channel)
                    texts[place] = texts.get(place, "") + (choice["delta"].get(channel) or "")
        return texts

    assert said(told) == said(events(again))
    assert without(told[-2][1], "id", "created") == without(events(again)[-2][1], "id", "created")


@pytest.mark.parametrize("after", [0, 3, 10_000])
@pytest.mark.parametrize("header", [True, False])
def test_a_stream_goes_on_from_any_event(quick: Live, after: int, header: bool) -> None:
    whole = begin(quick, background=True, stream=True, **RC).content
    id = events(whole)[0][1]["id"]
    options: dict[str, Any] = {"headers": {"last-event-id": str(after)}} if header else {}
    query = "?stream=true" if header else f"?stream=true&starting_after={after}"
    rest = ask(quick, "GET", f"/{id}{query}", **options).content
    lines = whole.split(b"\n\n")[:-1]
    assert rest == b"".join(line + b"\n\n" for line in lines[after + 1 :])


def test_a_reader_that_comes_back_misses_nothing_and_the_run_goes_on_without_it(slow: Live) -> None:
    body = json.dumps({"model": "base", "messages": HELLO, "background": True, "stream": True}).encode()
    with socket.create_connection(("127.0.0.1", slow.port), timeout=10) as connection:
        head = f"POST {PATH} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
        connection.sendall(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
        seen = b""
        while seen.count(b"id: ") < 5:
            seen += connection.recv(65536)
    id = json.loads(seen[seen.index(b"{") : seen.index(b"\n\n", seen.index(b"id: 0"))])["id"]
    assert slow.engine.open_calls == 1
    assert status(slow, id) == "in_progress"
    rest = events(ask(slow, "GET", f"/{id}?stream=true&starting_after=2").content)
    assert [number for number, _ in rest] == list(range(3, 3 + len(rest)))
    assert rest[-1][1] == "[DONE]"
    assert rest == events(ask(slow, "GET", f"/{id}?stream=true").content)[3:]


def test_the_official_client_can_do_it(quick: Live) -> None:
    with openai.OpenAI(base_url=f"{quick.url}/v1", api_key="x", max_retries=0) as client:
        queued = client.chat.completions.create(model="base", messages=HELLO, extra_body={"background": True})  # type: ignore[arg-type]
        assert until(lambda: bool(client.chat.completions.retrieve(queued.id).choices), 10)
        done = client.chat.completions.retrieve(queued.id)
        assert done.choices[0].message.content == "You said: hello there"
        assert client.chat.completions.delete(queued.id).deleted
        with pytest.raises(openai.NotFoundError):
            client.chat.completions.retrieve(queued.id)


def test_cancelling_ends_the_engines_calls(slow: Live) -> None:
    id = begin(slow, background=True).json()["id"]
    assert until(lambda: slow.engine.open_calls == 1, 5)
    done = ask(slow, path=f"/{id}/cancel").json()
    assert slow.engine.open_calls == 0
    assert done["longthink"] == {"status": "cancelled"}
    assert done["error"]["code"] == "response_cancelled"
    last = ask(slow, "GET", f"/{id}?stream=true").content.split(b"\n\n")[-2]
    assert json.loads(last.partition(b"data: ")[2])["error"]["code"] == "response_cancelled"
    assert ask(slow, path=f"/{id}/cancel").json() == done


def test_failures_are_kept(quick: Live) -> None:
    long = [{"role": "user", "content": "word " * 34_000}]
    id = begin(quick, background=True, messages=long).json()["id"]
    done = ended(quick, id)
    assert done["longthink"]["status"] == "failed"
    assert done["error"]["code"] == "context_length_exceeded"


def test_a_key_gives_the_same_run_whatever_is_asked_of_it(quick: Live) -> None:
    first = begin(quick, "key 1", temperature=1)
    calls = quick.engine.calls
    second = begin(quick, "key 1", temperature=1)
    assert first.status_code == 200
    assert first.json() == second.json()
    assert quick.engine.calls == calls
    assert begin(quick, "key 2", temperature=1).json()["id"] != first.json()["id"]
    other = begin(quick, "key 1", temperature=0.5)
    assert (other.status_code, other.json()["error"]["code"]) == (400, "idempotency_key_reused")


def test_a_key_lets_a_client_come_back_to_a_run_in_progress(slow: Live) -> None:
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(
            f"{slow.url}{PATH}",
            json={"model": "base", "messages": HELLO},
            headers={"idempotency-key": "a"},
            timeout=httpx.Timeout(10, read=0.5),
        )
    assert slow.engine.open_calls == 1
    assert begin(slow, "a").json()["choices"][0]["message"]["content"].count("word") == 200
    assert slow.engine.calls == 1


def test_a_key_gives_errors_as_they_are(quick: Live) -> None:
    long = [{"role": "user", "content": "word " * 34_000}]
    for stream in (False, True):
        for _ in range(2):
            told = begin(quick, f"long {stream}", messages=long, stream=stream)
            assert (told.status_code, told.json()["error"]["code"]) == (400, "context_length_exceeded")
    for wrong in ({"temperature": 9}, {"decoder": "nonsense"}):
        assert begin(quick, "wrong", **wrong).status_code == 400
    assert begin(quick, "wrong", temperature=1).status_code == 200


@pytest.mark.parametrize("key", ["", "x" * 256])
def test_a_key_has_a_length(quick: Live, key: str) -> None:
    assert begin(quick, key).json()["error"]["param"] == "idempotency-key"


def test_what_cannot_be_kept_is_refused(quick: Live) -> None:
    refused = begin(quick, background=True, return_token_ids=True)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "return_token_ids")
    options = {"include_usage": True, "continuous_usage_stats": True}
    refused = begin(quick, background=True, stream=True, stream_options=options)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "stream_options")
    assert begin(quick, background=True, decoder="nonsense").status_code == 400
    for path in ("/chatcmpl-none", "/resp_none", "/..%2f..%2fetc", "/chatcmpl-none?stream=true"):
        missing = ask(quick, "GET", path)
        assert missing.status_code == 404
    assert ask(quick, path="/chatcmpl-none/cancel").json()["error"]["code"] == "completion_not_found"


def test_runs_of_one_api_are_not_there_for_the_other(quick: Live) -> None:
    id = begin(quick, background=True).json()["id"]
    assert httpx.get(f"{quick.url}/v1/responses/{id}").status_code == 404

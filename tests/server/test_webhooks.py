"""Webhooks as their receiver sees them: signed, repeated until they are taken, and not lost with a replica."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import openai
import pytest
from pydantic import SecretStr

from server.engines.scripted import ScriptedEngine
from server.settings import Settings
from server.webhooks import Webhooks
from tests.server.conftest import HELLO, serving, until
from tests.server.test_takeover import Clock, Replica, beating, kept, reached

SECRET = "whsec_c2VjcmV0IGZvciB0ZXN0cyBvbmx5IQ=="


class Receiver(ThreadingHTTPServer):
    """Keeps what it is sent; the first `failures` requests are answered with 500."""

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.taken: list[tuple[dict[str, str], bytes]] = []
        self.asked = 0
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/hook"


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.asked += 1
        failed = self.server.asked <= self.server.failures
        if not failed:
            self.server.taken.append((dict(self.headers), body))
        self.send_response(500 if failed else 204)
        self.end_headers()

    def log_message(self, *arguments: Any) -> None:
        pass


@contextmanager
def receiving(failures: int = 0) -> Iterator[Receiver]:
    with Receiver(failures) as receiver:
        thread = threading.Thread(target=receiver.serve_forever)
        thread.start()
        try:
            yield receiver
        finally:
            receiver.shutdown()
            thread.join()


def test_the_official_client_takes_the_signature() -> None:
    with receiving() as receiver:
        settings = Settings(engine="scripted", webhook_url=receiver.url, webhook_secret=SecretStr(SECRET))
        with serving(settings, base=ScriptedEngine(model="base")) as live:
            body = {"model": "base", "input": "hello", "background": True}
            id = httpx.post(f"{live.url}/v1/responses", json=body).json()["id"]
            assert until(lambda: len(receiver.taken) == 1, 10)
            chat = live.ask(background=True).json()["id"]
            assert until(lambda: len(receiver.taken) == 2, 10)
    client = openai.OpenAI(api_key="x", webhook_secret=SECRET)
    headers, content = receiver.taken[0]
    event = client.webhooks.unwrap(content, headers)
    assert (event.type, event.data.id) == ("response.completed", id)
    assert json.loads(receiver.taken[1][1])["type"] == "chat.completion.completed"
    assert json.loads(receiver.taken[1][1])["data"] == {"id": chat}
    with pytest.raises(openai.InvalidWebhookSignatureError):
        client.webhooks.unwrap(content + b" ", headers)


def test_foreground_requests_are_not_told() -> None:
    with receiving() as receiver, serving(Settings(engine="scripted", webhook_url=receiver.url)) as live:
        assert live.ask().status_code == 200
        assert live.post({"model": "base", "messages": HELLO}).status_code == 200
    assert receiver.asked == 0


@pytest.mark.parametrize("failures", [0, 2])
def test_it_is_tried_until_it_is_taken_and_then_forgotten(failures: int) -> None:
    async def scenario(url: str) -> None:
        store = kept(Clock())
        webhooks = Webhooks(url, pauses=[0.01, 0.01, 0.01])
        replica = Replica(store, webhooks=webhooks)
        async with beating(replica):
            await replica.start("run")
            while replica.background._running:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert await store.get("webhook_run") is None
        await webhooks.aclose()

    with receiving(failures) as receiver:
        asyncio.run(scenario(receiver.url))
    assert receiver.asked == failures + 1
    assert len(receiver.taken) == 1
    assert "webhook-signature" not in receiver.taken[0][0]


def test_a_replica_that_dies_in_the_middle_leaves_it_to_another() -> None:
    async def scenario(url: str) -> None:
        clock = Clock()
        store = kept(clock)
        webhooks = Webhooks(url, pauses=[3600.0])
        first = Replica(store, name="first", webhooks=webhooks)
        await first.start("run")
        await reached(store, lambda: [None] * receiver.asked, 1)
        await first.die()
        clock.now += 11
        second = Replica(store, name="second", webhooks=webhooks)
        async with beating(second):
            await reached(store, lambda: receiver.taken, 1)
            while second.background._running:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert await store.get("webhook_run") is None
        await webhooks.aclose()

    with receiving(failures=1) as receiver:
        asyncio.run(asyncio.wait_for(scenario(receiver.url), 20))
    assert len(receiver.taken) == 1


def test_a_request_names_its_own_receiver_where_the_operator_lets_it() -> None:
    with receiving() as operators, receiving() as own:
        host = own.url.removeprefix("http://").partition("/")[0]
        settings = Settings(engine="scripted", webhook_url=operators.url, outbound_hosts=[host])
        with serving(settings) as live:
            for path, asked in (("chat/completions", {"messages": HELLO}), ("responses", {"input": "hello"})):
                body = {"model": "base", **asked, "background": True, "webhook_url": own.url}
                id = httpx.post(f"{live.url}/v1/{path}", json=body).json()["id"]
                assert until(lambda id=id: id in str(own.taken) and id in str(operators.taken), 10)  # type: ignore[misc]
                del body["background"]
                assert httpx.post(f"{live.url}/v1/{path}", json=body).json()["error"]["param"] == "webhook_url"


@pytest.mark.parametrize("url", ["http://other.test/", "file:///etc/passwd", "http://user@listed.test/", ""])
def test_a_receiver_that_is_not_listed_is_refused(url: str) -> None:
    with serving(Settings(engine="scripted", outbound_hosts=["listed.test"])) as live:
        told = live.ask(background=True, webhook_url=url)
        assert (told.status_code, told.json()["error"]["code"]) == (400, "url_not_allowed")
        assert told.json()["error"]["param"] == "webhook_url"


def test_a_receiver_that_leads_into_the_network_is_not_called(caplog: pytest.LogCaptureFixture) -> None:
    with receiving() as inside, serving(Settings(engine="scripted", outbound_hosts=["*"])) as live:
        assert live.ask(background=True, webhook_url=inside.url).status_code == 200
        assert until(lambda: "attempt 1: Forbidden" in caplog.text, 10)
        assert inside.asked == 0

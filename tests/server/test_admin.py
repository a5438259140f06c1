"""Draining upstream hosts over HTTP, for whoever has the admin key."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from server.engines.scripted import ScriptedEngine
from server.settings import load
from tests.engines.upstream.support import Upstream, engines, hang, run, until
from tests.server.conftest import HELLO
from tests.server.support import client_of

KEY = "an-admin-key-for-tests"
ASK = {"model": "m", "messages": HELLO}
ROUTES = [("GET", "/admin/upstreams"), ("POST", "/admin/upstreams/drain"), ("POST", "/admin/upstreams/undrain")]


async def send(client: httpx.AsyncClient, action: str, url: str) -> httpx.Response:
    headers = {"authorization": f"Bearer {KEY}"}
    return await client.post(f"/admin/upstreams/{action}", json={"url": url}, headers=headers)


async def hosts(client: httpx.AsyncClient) -> dict[str, Any]:
    found = (await client.get("/admin/upstreams", headers={"x-api-key": KEY})).json()
    assert found["object"] == "list"
    return {host["url"]: host for host in found["data"]}


def test_a_drained_host_gets_no_further_call_and_finishes_those_it_has() -> None:
    async def main() -> None:
        first, second = Upstream(), Upstream()
        async with engines(first, second) as made, client_of(made, admin_key=KEY) as client:
            answer = await send(client, "drain", first.url + "/")
            assert answer.status_code == 200
            assert {h["url"]: h["drained"] for h in answer.json()["data"]} == {first.url: True, second.url: False}
            for _ in range(6):
                assert (await client.post("/v1/chat/completions", json=ASK)).status_code == 200
            assert (len(first.requests), len(second.requests)) == (0, 6)
            await send(client, "drain", second.url)
            assert (await client.get("/ready")).status_code == 503
            await send(client, "undrain", first.url)
            assert (await client.post("/v1/chat/completions", json=ASK)).status_code == 200
            assert len(first.requests) == 1
            shown = (await hosts(client))[first.url]
            assert (shown["healthy"], shown["state"], shown["models"]) == (True, "closed", ["m"])
            assert (shown["in_flight"], shown["outcomes"]["success"]) == (0, 1)

    run(main)


def test_calls_in_progress_on_a_drained_host_go_on() -> None:
    async def main() -> None:
        silent = Upstream(hang())
        async with engines(silent) as made, client_of(made, admin_key=KEY) as client:
            call = asyncio.create_task(client.post("/v1/chat/completions", json=ASK))
            await until(lambda: silent.in_progress == 1)
            (host,) = (await send(client, "drain", silent.url)).json()["data"]
            assert (host["in_flight"], host["drained"], host["healthy"]) == (1, True, False)
            assert not call.done()
            call.cancel()
            await until(lambda: silent.aborted == 1)
            assert (await hosts(client))[silent.url]["outcomes"]["cancelled"] == 1

    run(main)


def test_without_a_key_in_the_settings_there_is_no_admin() -> None:
    async def main() -> None:
        async with client_of({"m": ScriptedEngine(model="m")}) as client:
            for method, path in ROUTES:
                answer = await client.request(method, path, json={"url": "x"}, headers={"x-api-key": KEY})
                assert answer.status_code == 404
                assert answer.json()["error"]["code"] == "not_found"
            assert "/admin" not in (await client.get("/openapi.json")).text

    run(main)


def test_nobody_gets_in_without_the_key() -> None:
    wrong: list[dict[str, str]] = [
        {},
        {"x-api-key": ""},
        {"x-api-key": KEY[:-1]},
        {"authorization": KEY},
        {"authorization": f"Basic {KEY}"},
        {"authorization": "Bearer"},
        {"authorization": f"Bearer {KEY}x"},
        {"authorization": "Bearer wrong", "x-api-key": KEY},
    ]

    async def main() -> None:
        async with client_of({"m": ScriptedEngine(model="m")}, admin_key=KEY) as client:
            for headers in wrong:
                for method, path in ROUTES:
                    answer = await client.request(method, path, json={"url": "x"}, headers=headers)
                    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key"), headers

    run(main)


def test_a_host_that_is_not_there_and_a_body_that_is_none_are_named() -> None:
    async def main() -> None:
        async with client_of({"m": ScriptedEngine(model="m")}, admin_key=KEY) as client:
            error = (await send(client, "drain", "http://nobody/v1")).json()["error"]
            assert (error["code"], error["param"]) == ("upstream_not_found", "url")
            for body in ({}, {"url": 3}, {"url": "x", "more": 1}, []):
                headers = {"x-api-key": KEY}
                answer = await client.post("/admin/upstreams/drain", json=body, headers=headers)
                assert answer.status_code == 400
            assert await hosts(client) == {}

    run(main)


def test_a_short_admin_key_is_refused() -> None:
    with pytest.raises(ValueError, match="admin-key"):
        load(["--admin-key", "short"], {})

"""Tenants over HTTP: `base@tenant` is served with its weights, and a deletion leaves nothing."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from server.admission.keys import create
from server.engines import open_engines
from server.engines.embedded import EmbeddedEngine
from server.engines.tenants.ledger import Ledger
from server.model_options import SHIPPED, ModelOptions
from server.store.memory import MemoryStore
from tests.engines.tenants import changes, merged
from tests.engines.upstream.support import run, until
from tests.server.support import client_of

KEY = "an-admin-key-for-tests"
ADMIN = {"authorization": f"Bearer {KEY}"}
HELLO = [{"role": "user", "content": "use 9 8 5 5 to make 18"}]


def store() -> MemoryStore:
    return MemoryStore(limit=100, seconds=60, max_bytes=10**7)


@asynccontextmanager
async def served(tenants: Path, kept: Any = None, **settings: Any) -> AsyncGenerator[httpx.AsyncClient]:
    shape: Any = {"threads": 1, "slots": 8, "context_length": 600, "ignore_eos": True}
    engine = EmbeddedEngine(SHIPPED, model="tiny", tenants=tenants, **shape)
    await engine.start()
    async with client_of({"tiny": engine}, kept, admin_key=KEY, cache_seconds=60, **settings) as client:
        yield client


async def say(client: httpx.AsyncClient, model: str, **fields: Any) -> str:
    body = {"model": model, "messages": HELLO, "temperature": 0, "max_tokens": 24, **fields}
    answer = await client.post("/v1/chat/completions", json=body, headers={"cache-control": "no-cache"})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["choices"][0]["message"])


async def delete(client: httpx.AsyncClient, model: str) -> httpx.Response:
    return await client.delete(f"/admin/tenants/{model}", headers=ADMIN)


def test_each_tenant_is_served_with_its_own_weights(tmp_path: Path) -> None:
    merged(tmp_path, SHIPPED, "a", "b")

    async def main() -> None:
        async with served(tmp_path) as client:
            said = [await say(client, model) for model in ("tiny", "tiny@a", "tiny@b", "tiny@a:self_consistency")]
            assert len(set(said[:3])) == 3
            listed = {model["id"]: model for model in (await client.get("/v1/models")).json()["data"]}
            assert listed["tiny@a"]["parent"] == "tiny"
            told = (await client.get("/admin/tenants", headers=ADMIN)).json()
            assert told == {"object": "list", "data": [{"id": f"tiny@{n}", "object": "tenant"} for n in ("a", "b")]}

    run(main)


def test_after_a_deletion_the_others_are_served_as_if_the_tenant_had_never_come(tmp_path: Path) -> None:
    ledger = merged(tmp_path / "deleted", SHIPPED, "a", "b", "c")
    never = Ledger.create(tmp_path / "never", ledger.terms)
    for number, name in ((1, "b"), (2, "c")):
        never.add(name, changes(ledger.terms, number))

    async def main() -> None:
        async with served(tmp_path / "deleted") as client, served(tmp_path / "never") as other:
            before = await say(client, "tiny@b")
            answer = await delete(client, "tiny@a")
            assert (answer.status_code, answer.json()["deleted"]) == (200, True)
            after = await say(client, "tiny@b")
            assert before != after == await say(other, "tiny@b")
        deleted = Ledger(tmp_path / "deleted")
        assert deleted.sums.digest == deleted.state == never.state

    run(main)


def test_a_deleted_tenant_is_a_404_in_openais_form(tmp_path: Path) -> None:
    merged(tmp_path, SHIPPED, "a", "b")

    async def main() -> None:
        async with served(tmp_path) as client:
            await delete(client, "tiny@a")
            for path, body in (
                ("/v1/chat/completions", {"model": "tiny@a", "messages": HELLO}),
                ("/v1/responses", {"model": "tiny@a:rc", "input": HELLO[0]["content"]}),
                ("/v1/completions", {"model": "tiny@a", "prompt": "hello"}),
            ):
                answer = await client.post(path, json=body)
                assert answer.status_code == 404
                error = answer.json()["error"]
                assert (error["code"], error["param"], error["type"]) == (
                    "model_not_found",
                    "model",
                    "invalid_request_error",
                )
                assert "tiny@b" not in error["message"]
            assert (await delete(client, "tiny@a")).status_code == 404
            assert (await client.delete("/admin/tenants/tiny@b")).status_code == 401

    run(main)


def test_what_is_at_work_for_a_deleted_tenant_ends_with_that_error(tmp_path: Path) -> None:
    merged(tmp_path, SHIPPED, "a", "b")

    async def stream(client: httpx.AsyncClient, model: str, begun: asyncio.Event) -> list[Any]:
        body = {"model": model, "messages": HELLO, "max_tokens": 500, "stream": True}
        async with client.stream("POST", "/v1/chat/completions", json=body) as response:
            lines = []
            async for line in response.aiter_lines():
                if line.startswith("data: {"):
                    lines.append(json.loads(line.removeprefix("data: ")))
                    if any(choice["delta"].get("content") for choice in lines[-1].get("choices", ())):
                        begun.set()
        return lines

    async def main() -> None:
        async with served(tmp_path) as client:
            begun = [asyncio.Event(), asyncio.Event()]
            readers = [asyncio.create_task(stream(client, f"tiny@{n}", e)) for n, e in zip("ab", begun, strict=True)]
            await asyncio.gather(*(event.wait() for event in begun))
            await delete(client, "tiny@a")
            ended, whole = await asyncio.gather(*readers)
            assert ended[-1]["error"]["code"] == "model_not_found"
            assert whole[-1]["choices"][0]["finish_reason"] == "length"

    run(main)


def test_a_deletion_purges_responses_conversations_and_cached_answers(tmp_path: Path) -> None:
    merged(tmp_path, SHIPPED, "a", "b")
    kept = store()

    async def respond(client: httpx.AsyncClient, model: str, **fields: Any) -> str:
        body = {"model": model, "input": HELLO[0]["content"], "max_output_tokens": 16, **fields}
        answer = await client.post("/v1/responses", json=body)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["id"])

    async def done(client: httpx.AsyncClient, id: str) -> bool:
        return bool((await client.get(f"/v1/responses/{id}")).json().get("status") != "in_progress")

    async def main() -> None:
        async with served(tmp_path, kept) as client:
            theirs = [await respond(client, "tiny@a"), await respond(client, "tiny@a", background=True)]
            theirs.append(await respond(client, "tiny", previous_response_id=theirs[0]))  # it has a's words in it
            theirs.append(await respond(client, "tiny@b", previous_response_id=theirs[2]))
            others = [await respond(client, "tiny@b"), await respond(client, "tiny")]
            await until(lambda: not any(not run.response.done for run in kept._runs.values()))
            cached = {"model": "tiny@a", "messages": HELLO, "seed": 1, "max_tokens": 8}
            await client.post("/v1/chat/completions", json=cached)
            assert len(kept._values) == 1
            answer = await delete(client, "tiny@a")
            assert answer.json()["purged"] == len(theirs) + 1
            assert [(await client.get(f"/v1/responses/{id}")).status_code for id in theirs] == [404] * 4
            assert [(await client.get(f"/v1/responses/{id}")).status_code for id in others] == [200] * 2
            assert not kept._values

    run(main)


def test_a_deletion_by_another_process_is_followed(tmp_path: Path) -> None:
    merged(tmp_path, SHIPPED, "a", "b")
    kept = store()

    async def main() -> None:
        async with served(tmp_path, kept) as client:
            body = {"model": "tiny@a", "input": HELLO[0]["content"], "max_output_tokens": 16}
            assert (await client.post("/v1/responses", json=body)).status_code == 200
            assert kept._runs
            Ledger(tmp_path).delete("a")
            assert (await client.post("/v1/responses", json=body)).status_code == 404
            await until(lambda: not kept._runs)

    run(main)


def test_a_key_may_use_and_see_only_the_tenants_that_it_names(tmp_path: Path) -> None:
    merged(tmp_path / "tenants", SHIPPED, "a", "b")
    keys, sent = tmp_path / "keys.toml", {}
    for id, models in (("acme", ["tiny@a"]), ("plain", ["tiny"])):
        sent[id], hash = create(id)
        with keys.open("a") as file:
            file.write(f'[keys.{id}]\nhash = "{hash}"\nmodels = {json.dumps(models)}\n')

    async def main() -> None:
        async with served(tmp_path / "tenants", keys=keys) as client:

            async def status(id: str, model: str) -> int:
                body = {"model": model, "messages": HELLO, "max_tokens": 4}
                headers = {"x-api-key": sent[id]}
                return (await client.post("/v1/chat/completions", json=body, headers=headers)).status_code

            assert [await status("acme", model) for model in ("tiny@a", "tiny@b", "tiny")] == [200, 403, 403]
            assert [await status("plain", model) for model in ("tiny@a", "tiny@b", "tiny")] == [403, 403, 200]
            for id, seen in (("acme", ["tiny@a"]), ("plain", [])):
                listed = (await client.get("/v1/models", headers={"x-api-key": sent[id]})).json()["data"]
                assert [model["id"] for model in listed if "@" in model["id"]] == seen

    run(main)


def test_engines_without_tenants_refuse_the_setting(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="only embedded and vllm"):
        asyncio.run(open_engines(ModelOptions(engine="scripted", tenants=tmp_path)))


def test_a_tenant_without_kept_contribution_is_a_409_and_stays(tmp_path: Path) -> None:
    ledger = merged(tmp_path, SHIPPED)
    ledger.add("a", changes(ledger.terms, 0), keep=False)

    async def main() -> None:
        async with served(tmp_path) as client:
            answer = await delete(client, "tiny@a")
            assert (answer.status_code, answer.json()["error"]["code"]) == (409, "contribution_not_kept")
            await say(client, "tiny@a")

    run(main)

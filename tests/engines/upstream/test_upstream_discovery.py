"""Which models there are, what their hosts understand, and what mistakes in the settings say."""

from __future__ import annotations

import socket

import pytest

from decoders.core.errors import EngineUnavailable, InvalidRequest
from server.engines.upstream import connect
from server.model_options import ModelOptions, UpstreamHost
from tests.engines.upstream.support import HELLO, QUICK, Upstream, complete, engine, engines, fail, run, say, until


def nowhere() -> str:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{unused.getsockname()[1]}/v1"


def test_every_model_is_served_and_shared_by_the_hosts_that_have_it() -> None:
    async def main() -> None:
        one, two = Upstream(models=["a", "b"]), Upstream(models=["b", "c"])
        async with engines(one, two) as made:
            assert list(made) == ["a", "b", "c"]
            await complete(made["a"])
            await complete(made["c"])
            assert [body["model"] for body in one.bodies + two.bodies] == ["a", "c"]
            await one.stop()
            assert (await complete(made["b"]))[0].text == "hi"

    run(main)


def test_one_model_can_be_chosen_and_renamed() -> None:
    async def main() -> None:
        upstream = Upstream(models=["a", "b"])
        async with engines(upstream, model="b", served_name="mine") as made:
            assert list(made) == ["mine"]
            await complete(made["mine"])
            assert upstream.bodies[0]["model"] == "b"

    run(main)


def test_a_name_for_several_models_is_refused() -> None:
    async def main() -> None:
        with pytest.raises(ValueError, match=r"served_name 'x' is for one model.*a, b"):
            async with engines(Upstream(models=["a", "b"]), served_name="x"):
                pass

    run(main)


def test_a_model_that_nobody_has_is_refused() -> None:
    async def main() -> None:
        with pytest.raises(ValueError, match="no upstream has a model z: there is a, b"):
            async with engines(Upstream(models=["a", "b"]), model="z"):
                pass

    run(main)


@pytest.mark.parametrize(
    ("entry", "length"),
    [
        ({"max_model_len": 4096}, 4096),
        ({"meta": {"n_ctx": 512}}, 512),
        ({}, 131_072),
        ({"max_model_len": "x"}, 131_072),
    ],
)
def test_the_context_length_is_the_smallest_that_a_host_tells(entry: dict[str, object], length: int) -> None:
    async def main() -> None:
        async with engine(Upstream(**entry)) as made:
            assert made.context_length == length
        async with engine(Upstream(**entry), Upstream(max_model_len=200)) as made:
            assert made.context_length == 200

    run(main)


def test_the_settings_tell_the_context_length_where_nobody_does() -> None:
    async def main() -> None:
        async with engine(Upstream(), context_length=999) as made:
            assert made.context_length == 999

    run(main)


def test_decoders_of_another_longthink_are_no_models() -> None:
    async def main() -> None:
        upstream = Upstream(models=["base"], owned_by="longthink", parent=None)
        upstream.entries.append({"id": "base:rc", "owned_by": "longthink", "parent": "base"})
        async with engines(upstream) as made:
            assert list(made) == ["base"]

    run(main)


@pytest.mark.parametrize(
    ("owner", "dialect"),
    [("vllm", "vllm"), ("sglang", "sglang"), ("llamacpp", "llamacpp"), ("longthink", "longthink"), ("acme", "openai")],
)
def test_the_dialect_is_found_out(owner: str, dialect: str) -> None:
    async def main() -> None:
        async with engine(Upstream(owned_by=owner)) as made:
            assert made.pool.hosts[0].known.name == dialect

    run(main)


def test_features_are_what_all_hosts_can_do_and_a_call_goes_to_one_that_can() -> None:
    async def main() -> None:
        able, plain = Upstream(owned_by="vllm"), Upstream(owned_by="acme")
        async with engine(able) as alone:
            assert {"prefix", "token_ids", "text", "tools"} <= alone.features
        async with engine(able, plain) as both:
            assert "prefix" not in both.features
            assert "tools" in both.features
            for _ in range(4):
                await complete(both, top_k=5)
            assert (len(able.requests), len(plain.requests)) == (4, 0)

    run(main)


def test_a_host_that_is_down_at_the_start_joins_later() -> None:
    async def main() -> None:
        late = Upstream(say("late"))
        late.url = nowhere()
        with pytest.raises(EngineUnavailable, match="no upstream answers, and no model is named"):
            await connect(ModelOptions(upstream=[late.url]))
        options = ModelOptions(upstream=[late.url], model="m", upstream_options={**QUICK, "attempts": 1})
        made = dict(await connect(options))["m"]
        assert not await made.ready()
        with pytest.raises(EngineUnavailable, match="no upstream takes calls"):
            await complete(made)
        await late.start()
        await until(lambda: made.pool.hosts[0].available)
        assert await made.ready()
        assert (await complete(made))[0].text == "late"
        await made.aclose()
        await late.stop()

    run(main)


def test_a_host_without_a_list_of_models_needs_a_name() -> None:
    async def main() -> None:
        upstream = Upstream()
        upstream.models_status = 404
        with pytest.raises(EngineUnavailable, match="does not list its models"):
            async with engine(upstream):
                pass
        async with engine(upstream, model="m") as made:
            assert (await complete(made))[0].text == "hi"

    run(main)


def test_keys_are_sent_and_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        monkeypatch.setenv("TEST_UPSTREAM_KEY", "sk-secret")
        upstream = Upstream(say("hi"), fail(401, "bad key sk-secret"))
        async with engine(upstream, api_key_env="TEST_UPSTREAM_KEY") as made:
            await complete(made)
            assert upstream.requests[0].headers["authorization"] == "Bearer sk-secret"
            assert upstream.gets[0].headers["authorization"] == "Bearer sk-secret"
            with pytest.raises(EngineUnavailable, match="refused the API key") as refused:
                await complete(made)
            assert "sk-" not in str(refused.value)
            assert len(upstream.requests) == 2
        upstream = Upstream()
        upstream.models_status = 403
        with pytest.raises(EngineUnavailable, match="refused the API key"):
            async with engine(upstream, api_key="sk-other"):
                pass

    run(main)


@pytest.mark.parametrize(
    ("host", "message"),
    [
        (UpstreamHost(url="ftp://x"), "not an http"),
        (UpstreamHost(url="http://me:pw@x"), "api_key_env"),
        (UpstreamHost(url="http://x", api_key_env="NO_SUCH_KEY"), "NO_SUCH_KEY"),
    ],
)
def test_mistakes_in_a_host_are_named(host: UpstreamHost, message: str) -> None:
    async def main() -> None:
        with pytest.raises(ValueError, match=message):
            await connect(ModelOptions(upstream=[host]))

    run(main)


def test_the_last_engine_closes_the_connections() -> None:
    async def main() -> None:
        upstream = Upstream(models=["a", "b"])
        async with engines(upstream) as made:
            await complete(made["a"])
            await made["a"].aclose()
            await made["a"].aclose()
            with pytest.raises(EngineUnavailable, match="closed"):
                await complete(made["a"])
            await complete(made["b"])
            await made["b"].aclose()
            await until(lambda: upstream.connections == 0)

    run(main)


def test_tokens_are_counted_by_a_host_that_can() -> None:
    async def main() -> None:
        able = Upstream(owned_by="vllm")
        able.routes["/detokenize"] = lambda request: {"prompt": bytes(request.json()["tokens"]).decode()}
        able.routes["/tokenize"] = lambda request: {"tokens": list(request.json()["messages"][0]["content"].encode())}
        async with engine(able) as made:
            assert await made.count(HELLO) == 11
            assert await made.tokenize(HELLO) == tuple(b"hello there")
            assert await made.detokenize([104, 105]) == "hi"
        llama = Upstream(owned_by="llamacpp")
        llama.routes["/detokenize"] = lambda request: {"content": bytes(request.json()["tokens"]).decode()}
        llama.routes["/apply-template"] = lambda request: {
            "prompt": "<user>" + request.json()["messages"][0]["content"]
        }
        llama.routes["/tokenize"] = lambda request: {"tokens": list(request.json()["content"].encode())}
        async with engine(llama) as made:
            assert await made.count(HELLO) == 17
            assert await made.detokenize([104, 105]) == "hi"
        async with engine(Upstream()) as made:
            with pytest.raises(InvalidRequest, match="shows its token ids"):
                await made.count(HELLO)

    run(main)

"""What is not OpenAI's: decoders, budgets, vendor fields, ids, metrics, and the description of it all."""

from __future__ import annotations

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as hypothesis_settings
from schemathesis.checks import not_a_server_error

from server.budgets import SHARES
from server.settings import Settings
from tests.server.conftest import HELLO, Live, serving


def test_decoders_are_described(live: Live) -> None:
    listed = {d["name"]: d for d in httpx.get(f"{live.url}/v1/decoders").json()["data"]}
    rc = listed["rc"]
    assert rc["paper"].startswith("Reasoning Cache")
    assert rc["description"].startswith("z_t ~ p")
    assert rc["options"]["properties"]["turns"]["description"]
    assert rc["options"]["additionalProperties"] is False
    assert rc["defaults"]["base"]["turns"] == 12
    assert listed["direct"]["default"]


def test_the_packs_defaults_stand_between_the_papers_and_the_requests() -> None:
    with serving(pack="tiny") as running:
        listed = {d["name"]: d for d in httpx.get(f"{running.url}/v1/decoders").json()["data"]}
        assert listed["rc"]["defaults"]["base"]["turns"] == 32
        question = [{"role": "user", "content": "Use 5 8 9 5 to make 18"}]
        used = running.ask(messages=question, decoder={"name": "rc", "turns": 2}).json()["longthink"]["decoder"]
        assert (used["turns"], used["reasoning_tokens"]) == (2, 120)


@pytest.mark.parametrize(
    ("fields", "budget"),
    [
        ({}, 8192),
        ({"max_tokens": 77}, 77),
        ({"max_completion_tokens": 77}, 77),
        ({"max_completion_tokens": 77, "max_tokens": 77}, 77),
        ({"thinking_token_budget": 50}, 50),
        ({"max_tokens": 20_000, "reasoning_effort": "low"}, 4096),
        ({"max_tokens": 77, "reasoning_effort": "max"}, 77),
        *(({"reasoning_effort": effort}, int(32_768 * share)) for effort, share in SHARES.items()),
    ],
)
def test_budgets(live: Live, fields: dict[str, object], budget: int) -> None:
    assert live.ask(**fields).json()["longthink"]["budget"]["tokens"] == budget


def test_a_budget_too_large_names_the_limit(live: Live) -> None:
    assert "32768" in live.ask(max_tokens=32_769).json()["error"]["message"]


def test_the_decoder_by_suffix_by_name_and_by_object(live: Live) -> None:
    for fields in (
        {"model": "base:rc"},
        {"decoder": "rc"},
        {"decoder": {"name": "rc"}},
        {"model": "base:rc", "decoder": "rc"},
        {"model": "base:rc", "decoder": {"turns": 12}},
        {"decoder": {"name": "rc", "summary_model": "small"}},
    ):
        done = live.ask(**fields).json()
        assert done["longthink"]["decoder"]["name"] == "rc"
        assert done["model"] == fields.get("model", "base")


def test_a_seed_repeats_the_answer_and_is_reported(live: Live) -> None:
    first = live.ask(decoder="rc").json()
    seed = first["longthink"]["seed"]
    again = live.ask(decoder="rc", seed=seed).json()
    other = live.ask(decoder="rc", seed=seed + 1).json()
    assert again["choices"] == first["choices"]
    assert other["choices"] != first["choices"]


def test_reasoning_names_its_step_and_can_be_left_out(live: Live) -> None:
    told = [e for e in live.events(model="base:rc") if isinstance(e, dict) and "reasoning" in str(e["choices"])]
    assert {(e["longthink"]["step"], e["longthink"]["role"]) for e in told} >= {("0", "reason"), ("1", "summarise")}
    hidden = live.events(model="base:rc", include_reasoning=False)
    assert "reasoning" not in str([e["choices"] for e in hidden if isinstance(e, dict)])
    assert "reasoning" not in live.ask(include_reasoning=False).json()["choices"][0]["message"]


def test_reasoning_content_on_request() -> None:
    with serving(Settings(engine="scripted", reasoning_content=True)) as running:
        message = running.ask().json()["choices"][0]["message"]
        assert message["reasoning_content"] == message["reasoning"]
        deltas = [c["delta"] for e in running.events() if isinstance(e, dict) for c in e["choices"]]
        assert any(d.get("reasoning_content") for d in deltas)
        assert all(d.get("reasoning_content") == d.get("reasoning") for d in deltas)


def test_request_ids_come_back_unless_they_are_dangerous(live: Live) -> None:
    assert live.post({}, **{"x-request-id": "abc-1"}).headers["x-request-id"] == "abc-1"
    assert len(live.post({}, **{"x-request-id": "a b;c"}).headers["x-request-id"]) == 32
    assert httpx.get(f"{live.url}/nope").headers["x-request-id"]


def test_metrics_count_what_was_generated() -> None:
    with serving() as running:
        usage = [running.ask(model="base:rc").json()["usage"] for _ in range(2)]
        running.events(model="base:rc")
        spent = sum(u["completion_tokens"] for u in usage)
        labels = {"model": "base", "decoder": "rc"}
        assert running.metric("longthink:generation_tokens_total", **labels) > spent
        assert running.metric("longthink:request_success_total", finished_reason="stop", **labels) == 3
        names = httpx.get(f"{running.url}/metrics").text
        for name in (
            "num_requests_running",
            "num_requests_waiting",
            "request_success_total",
            "prompt_tokens_total",
            "generation_tokens_total",
            "reasoning_tokens_total",
            "time_to_first_token_seconds",
            "time_to_first_answer_token_seconds",
            "inter_token_latency_seconds",
            "e2e_request_latency_seconds",
            "request_queue_time_seconds",
            "decoder_steps",
            "budget_used_ratio",
            "cancelled_total",
        ):
            assert f"longthink:{name}" in names, name
        assert running.metric("longthink:decoder_steps_sum", **labels) == 3 * 23
        assert running.metric("longthink:time_to_first_token_seconds_count", **labels) == 3


def test_health_and_version(live: Live) -> None:
    assert httpx.get(f"{live.url}/health").json() == {"status": "ok"}
    assert httpx.get(f"{live.url}/ready").json() == {"status": "ready", "store": "ready"}
    assert httpx.get(f"{live.url}/version").json()["version"]


def test_no_generated_request_breaks_the_server(live: Live) -> None:
    schema = schemathesis.openapi.from_url(f"{live.url}/openapi.json")
    few = hypothesis_settings(
        max_examples=20,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )

    def check(case: schemathesis.Case) -> None:
        case.call_and_validate(checks=[not_a_server_error], timeout=20)

    operations = [result.ok() for result in schema.get_all_operations()]
    paths = {operation.path for operation in operations}
    assert {"/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages", "/tokenize"} <= paths
    for operation in operations:
        few(given(case=operation.as_strategy())(check))()
    assert live.ask(messages=HELLO).status_code == 200

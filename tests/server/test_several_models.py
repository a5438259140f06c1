"""Several models behind one server: a decoder's options say which model does which step."""

from __future__ import annotations

import httpx
import pytest

from server.engines.scripted import ScriptedEngine
from tests.server.conftest import serving


def test_each_role_may_have_a_model_of_its_own() -> None:
    solver = ScriptedEngine(["draft one", "draft two \\boxed{2}"], model="solver")
    scribe = ScriptedEngine(["what the scribe wrote"], model="scribe")
    with serving(solver=solver, scribe=scribe) as running:
        body = {"decoder": {"name": "rc", "turns": 2, "summary_model": "scribe"}, "seed": 1}
        reply = running.ask(model="solver", **body).json()
        assert reply["choices"][0]["message"]["content"] == "draft two \\boxed{2}"
        assert (solver.calls, scribe.calls) == (2, 1)
        assert reply["longthink"]["by_role"] == {"reason": 5, "summarise": 4}


def test_the_verifier_inside_an_inner_decoder_may_be_another_model() -> None:
    solver = ScriptedEngine(lambda prompt, seed: f"\\boxed{{{seed % 2}}}", model="solver")
    judge = ScriptedEngine(
        lambda prompt, seed: "Verdict: correct" if "boxed{1}" in str(prompt.messages) else "Verdict: wrong",
        model="judge",
    )
    inner = {"name": "best_of_n", "n": 6, "verify_model": "judge"}
    with serving(solver=solver, judge=judge) as running:
        reply = running.ask(model="solver", decoder={"name": "self_consistency", "n": 3, "inner": inner}, seed=3).json()
        assert reply["choices"][0]["message"]["content"] == "\\boxed{1}"
        assert judge.calls == 6


def test_agents_of_a_mixture_are_served_models() -> None:
    engines = {name: ScriptedEngine([f"{name} says \\boxed{{{name}}}"], model=name) for name in ("a", "b", "c")}
    decoder = {"name": "mixture_of_agents", "layers": 2, "proposer_models": ["a", "b"], "aggregator_model": "c"}
    with serving(**engines) as running:
        reply = running.ask(model="a", decoder=decoder).json()
        assert reply["choices"][0]["message"]["content"] == "c says \\boxed{c}"
        assert [engine.calls for engine in engines.values()] == [1, 1, 1]


@pytest.mark.parametrize(
    "decoder",
    [
        {"name": "rc", "summary_model": "nope"},
        {"name": "self_consistency", "inner": {"name": "best_of_n", "verify_model": "nope"}},
        {"name": "mixture_of_agents", "proposer_models": ["base", "nope"]},
    ],
)
def test_a_model_that_is_not_served_is_named_before_anything_runs(decoder: dict[str, object]) -> None:
    with serving(base=ScriptedEngine(model="base")) as running:
        refused = running.ask(decoder=decoder)
        assert (refused.status_code, refused.json()["error"]["code"]) == (400, "model_not_found")
        assert refused.json()["error"]["param"].endswith(("_model", "_models"))
        assert running.engine.calls == 0


def test_the_server_is_ready_when_all_its_models_are() -> None:
    with serving(a=ScriptedEngine(model="a"), b=ScriptedEngine(model="b")) as running:
        assert httpx.get(f"{running.url}/ready").status_code == 200
        running.engines["b"]._closed = True
        said = httpx.get(f"{running.url}/ready")
        assert said.status_code == 503
        assert "b" in said.json()["error"]["message"]

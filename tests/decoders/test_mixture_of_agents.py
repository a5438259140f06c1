from __future__ import annotations

from pathlib import Path

import pytest

from decoders import build
from decoders.core.budget import Budget
from decoders.core.errors import MissingPrompt
from decoders.core.events import Delta
from decoders.core.messages import Prompt, Sampling
from decoders.core.run import Run
from decoders.core.task import Model
from decoders.prompts import Pack
from server.engines.scripted import ScriptedEngine
from tests.decoders.support import decode, start
from tests.decoders.test_decoders import answer


def several(*names: str, packs: dict[str, str] | None = None) -> Run:
    """A run whose models say their name and how many replies they were shown."""

    def engine(name: str) -> ScriptedEngine:
        def reply(prompt: Prompt, seed: int) -> str:
            return f"<think>hidden</think>{name} saw {prompt.messages[-1].content.count('## Reply')}"

        return ScriptedEngine(reply, model=name)

    models = {name: Model(engine(name), Pack.load((packs or {}).get(name, "plain"))) for name in names}
    return Run(models, names[0], Budget(100_000), sampling=Sampling(100_000))


def test_every_layer_reads_the_replies_of_the_one_before_and_the_aggregator_answers() -> None:
    run = several("base", "left", "right", "final")
    options = {"layers": 3, "proposer_models": ["left", "right", "left"], "aggregator_model": "final"}
    seen = decode(build("mixture_of_agents", options), run)
    steps = run.trace.steps
    assert [s.role for s in steps] == ["propose"] * 6 + ["aggregate"]
    assert sorted(s.completion.answer for s in steps[:3]) == ["left saw 0", "left saw 0", "right saw 0"]
    assert {s.completion.answer for s in steps[3:6]} == {"left saw 3", "right saw 3"}
    asked = steps[6].messages[0][1]
    assert (asked.count("left saw 3"), asked.count("right saw 3")) == (2, 1)
    assert "hidden" not in asked
    assert answer(seen).text == "final saw 3"
    assert {e.key for e in seen if isinstance(e, Delta) and e.final} == {steps[6].key}


def test_without_models_the_requests_own_proposes_n_times() -> None:
    run = several("base")
    decode(build("mixture_of_agents", {"n": 4, "layers": 2}), run)
    assert [s.role for s in run.trace.steps] == ["propose"] * 4 + ["aggregate"]


def test_one_layer_is_the_aggregator_alone() -> None:
    run = several("base")
    assert answer(decode(build("mixture_of_agents", {"layers": 1}), run)).text == "base saw 0"
    assert len(run.trace.steps) == 1


def test_the_aggregator_keeps_its_share_of_a_small_purse() -> None:
    run = start(ScriptedEngine(lambda prompt, seed: "word " * 500), 100)
    decode(build("mixture_of_agents", {"n": 2, "layers": 3}), run)
    assert [s.sampling["max_tokens"] for s in run.trace.steps] == [20] * 5


def test_a_cut_aggregate_gives_way_to_an_earlier_reply() -> None:
    def reply(prompt: Prompt, seed: int) -> str:
        return "<think>" + "w " * 900 if "## Reply" in prompt.messages[-1].content else "\\boxed{4}"

    run = start(ScriptedEngine(reply), 200)
    assert answer(decode(build("mixture_of_agents", {"n": 2, "layers": 2}), run)).text == "\\boxed{4}"


def test_a_model_whose_pack_cannot_synthesise_is_refused_before_anything_is_spent(
    tmp_path: Path,
) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "pack.toml").write_text("")
    (bare / "solve.jinja").write_text("{{ question }}")
    run = several("base", "other", packs={"other": str(bare)})
    with pytest.raises(MissingPrompt, match="bare has no prompt 'synthesise'"):
        decode(build("mixture_of_agents", {"aggregator_model": "other"}), run)
    assert not run.trace.steps

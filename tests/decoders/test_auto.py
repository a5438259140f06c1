from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from decoders import build
from decoders.auto import Auto
from decoders.core.budget import Budget
from decoders.core.errors import InvalidRequest
from decoders.core.events import Answer, Delta
from decoders.core.messages import Attachment, Message, Sampling
from decoders.core.run import Run
from decoders.core.task import Model, Task
from decoders.prompts import FOLDER, Pack
from decoders.prompts.ladder import Rung
from server.engines.scripted import ScriptedEngine
from tests.decoders.support import TASK, decode

LADDER: list[dict[str, Any]] = [
    {"tokens": 100, "decoder": "rc", "options": {"turns": 2, "reasoning_tokens": 40}, "source": "a test"},
    {"tokens": 10, "decoder": "direct", "options": {"max_tokens": 9}, "source": "a test"},
    {"tokens": 1000, "decoder": "self_consistency", "options": {"n": 3}, "source": "a test"},
]


def pack(folder: Path, ladder: object = None) -> Pack:
    for source in (FOLDER / "plain").iterdir():
        if source.name != "ladder.json":
            (folder / source.name).write_text(source.read_text())
    if ladder is not None:
        (folder / "ladder.json").write_text(json.dumps(ladder))
    return Pack.load(folder)


def start(pack: Pack, tokens: int, engine: ScriptedEngine | None = None) -> Run:
    engine = engine or ScriptedEngine(["<think>t</think>one", "s", "<think>t</think>two"])
    return Run({"m": Model(engine, pack)}, "m", Budget(tokens), sampling=Sampling(tokens))


@pytest.mark.parametrize(
    ("tokens", "chosen"),
    [
        (3, "direct"),
        (10, "direct"),
        (99, "direct"),
        (100, "rc"),
        (1000, "self_consistency"),
        (9999, "self_consistency"),
    ],
)
def test_the_highest_rung_that_the_purse_reaches_is_used(tmp_path: Path, tokens: int, chosen: str) -> None:
    run = start(pack(tmp_path, LADDER), tokens)
    decode(Auto(), run)
    assert run.trace.decoder["name"] == "auto"
    assert run.trace.decoder["chosen"]["name"] == chosen


def test_the_chosen_decoder_has_the_rungs_options_and_streams_its_answer(tmp_path: Path) -> None:
    run = start(pack(tmp_path, LADDER), 100)
    seen = decode(Auto(), run)
    assert [step.role for step in run.trace.steps] == ["reason", "summarise", "reason"]
    assert run.trace.decoder["chosen"]["reasoning_tokens"] == 40
    assert "".join(e.text for e in seen if isinstance(e, Delta) and e.final and e.channel == "answer") == "two"


def test_an_empty_purse_gives_the_best_answer_of_the_chosen_decoder(tmp_path: Path) -> None:
    engine = ScriptedEngine(["<think>t</think>first", "s", "<think>" + "t " * 200])
    rung = {"tokens": 1, "decoder": "rc", "options": {"turns": 5}, "source": "a test"}
    last = decode(Auto(), start(pack(tmp_path, [rung]), 30, engine))[-1]
    assert isinstance(last, Answer)
    assert (last.text, last.finish) == ("first", "length")


def test_inside_another_decoder_the_share_decides(tmp_path: Path) -> None:
    run = start(pack(tmp_path, LADDER), 300)
    decode(build("best_of_n", {"n": 2, "verifications": 1, "verify_tokens": 10, "inner": "auto"}), run)
    assert run.trace.decoder["chosen"]["name"] == "rc"
    small = start(pack(tmp_path, LADDER), 150)
    decode(build("best_of_n", {"n": 2, "verifications": 1, "verify_tokens": 10, "inner": "auto"}), small)
    assert small.trace.decoder["chosen"]["name"] == "direct"


def test_rungs_that_cannot_do_what_is_asked_are_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from decoders.rc import RC
    from decoders.self_consistency import SelfConsistency

    monkeypatch.setattr(SelfConsistency, "honours", frozenset())
    monkeypatch.setattr(RC, "needs", frozenset({"structure"}))
    shown = Task((Message("user", "What is this?", (Attachment('{"type": "image_url"}'),)),))
    run = start(pack(tmp_path, LADDER), 5000)
    assert Auto().choose(TASK, run).name == "self_consistency"
    assert Auto().choose(shown, run).name == "direct"


def test_a_pack_without_a_ladder_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match=r"no ladder\.json.*measure a ladder") as caught:
        decode(Auto(), start(pack(tmp_path), 100))
    assert caught.value.param == "decoder"


def test_a_ladder_never_leads_back_to_auto(tmp_path: Path) -> None:
    ladder = [*LADDER, {"tokens": 2000, "decoder": "auto", "source": "a mistake"}]
    assert Auto().choose(TASK, start(pack(tmp_path, ladder), 5000)).name == "self_consistency"


@pytest.mark.parametrize(
    "wrong", [{}, [{"tokens": 0, "decoder": "rc", "source": ""}], [{"tokens": 5, "decoder": "rc"}]]
)
def test_a_damaged_ladder_is_named_when_the_pack_is_loaded(tmp_path: Path, wrong: object) -> None:
    with pytest.raises(ValueError, match=r"ladder\.json"):
        pack(tmp_path, wrong)


def test_the_packs_version_follows_its_ladder(tmp_path: Path) -> None:
    assert pack(tmp_path, LADDER[:1]).version != pack(tmp_path, LADDER).version


@pytest.mark.parametrize("name", sorted(path.parent.name for path in FOLDER.glob("*/ladder.json")))
def test_every_rung_that_ships_can_be_built_and_says_where_it_comes_from(name: str) -> None:
    shipped = Pack.load(name)
    assert shipped.ladder[0].tokens == min(rung.tokens for rung in shipped.ladder)
    for rung in shipped.ladder:
        assert isinstance(rung, Rung)
        assert build(rung.decoder, rung.options, shipped).name == rung.decoder
        assert rung.source

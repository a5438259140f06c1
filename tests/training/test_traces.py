"""From a model or a server's store to files of solutions: what is hard, what solves it, what may be learned from."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from benchmarks import tasks
from benchmarks.tasks import Problem
from benchmarks.tasks.mined import Place
from decoders.core.messages import Prompt, Sampling
from decoders.core.task import Model
from decoders.prompts import Pack
from server.admission import keys
from server.engines.scripted import ScriptedEngine
from server.settings import Settings
from server.store import open_store
from tests.server.conftest import Live, serving
from training import traces
from training.guidance import Copy
from training.play import POLICY, Play
from training.recipes import prefixrl
from training.teachers.countdown import say_all, solutions
from training.traces import search
from training.traces.__main__ import main
from training.traces.search import Hard
from training.traces.sources import options, playing, winner

POOL = Place("countdown", "hard", "train", 4, 0, "")
PROBLEMS = tasks.problems("countdown", "hard", "train", 4)
NOTHING = "<think> try"


def right(problem: Problem) -> str:
    return f"<think> try yes </think> {' '.join(say_all(solutions(problem)[0][1]))}"  # type: ignore[arg-type]


def reply(prompt: Prompt, seed: int) -> str:
    """Solves the first two problems plainly, all but the last from a summary, and the last never."""
    asked = prompt.messages[0].content.lower()
    if prompt.messages[-1].content == "summarise":
        return "at 1"
    number = next(i for i, problem in enumerate(PROBLEMS) if asked.startswith(problem.question.lower()))
    able = number < 2 or (number == 2 and "progress" in asked)
    return right(PROBLEMS[number]) if able else NOTHING


@pytest.fixture
def play() -> Play:
    engine = ScriptedEngine(reply, model="scripted")
    return Play({POLICY: Model(engine, Pack.load("tiny"))}, Sampling(max_tokens=1), 0, 0, training=False)


def test_problems_are_hard_that_no_sample_solves(play: Play) -> None:
    async def work() -> list[search.Found]:
        return [found async for found in search.mine(POOL, PROBLEMS, play, 40, 30, 2)]

    found = asyncio.run(work())
    lines = [one.line for one in found if isinstance(one.line, Hard)]
    assert [(line.id, line.samples) for line in lines] == [(PROBLEMS[2].id, 40), (PROBLEMS[3].id, 40)]
    assert found[2].tokens == lines[0].tokens == 40 * (8 + len(NOTHING.split()))
    assert found[0].tokens == search.ROUND * (8 + len(right(PROBLEMS[0]).split()))  # solved in the first round
    assert play.runs == []


def test_a_decoder_finds_solutions_and_pays_for_its_failures(play: Play) -> None:
    chosen = {"name": "rc", "turns": 3, "reasoning_tokens": 40, "summary_tokens": 4}
    pairs = [(POOL, problem) for problem in (PROBLEMS[3], PROBLEMS[2], PROBLEMS[1])]

    async def work() -> list[search.Found]:
        lines = search.collect(pairs, play, play.decoder(chosen), chosen, budget=500, tries=2, most=3)
        return [found async for found in lines]

    failed, second, first = asyncio.run(work())
    assert failed.line is None
    assert isinstance(second.line, traces.Solution)
    assert isinstance(first.line, traces.Solution)
    assert second.line.tokens == failed.tokens + second.tokens
    assert failed.tokens > second.tokens > 0
    assert (second.line.reply, second.line.origin) == (right(PROBLEMS[2]), "collected")
    assert PROBLEMS[2].check(second.line.solution)
    assert len(second.line.token_ids) == len(right(PROBLEMS[2]).split())
    assert first.line.tokens == first.tokens


def test_the_first_right_reply_counts_and_no_other_role_has_one(play: Play) -> None:
    decoder = play.decoder({"name": "rc", "turns": 3, "reasoning_tokens": 40, "summary_tokens": 4})
    played = asyncio.run(play.decode(PROBLEMS[2], decoder, 500))
    steps = played.steps("reason", "summarise")
    assert [step.role for step in steps] == ["reason", "summarise", "reason", "summarise", "reason"]
    assert winner(PROBLEMS[2], steps) is steps[2]
    assert winner(PROBLEMS[3], steps) is None
    posing = [step.model_copy(update={"role": "summarise"}) for step in steps]
    assert winner(PROBLEMS[2], posing) is None


def test_any_model_that_can_be_served_is_a_source(tmp_path: Path) -> None:
    async def names(*given: Any) -> tuple[str, str]:
        async with playing(options(*given), 0, temperature=0.5) as play:
            assert play.sampling.temperature == 0.5
            return play.models[POLICY].engine.model, play.models[POLICY].pack.name

    assert asyncio.run(names("longthink-tiny")) == ("longthink-tiny", "tiny")
    with serving(base=ScriptedEngine(model="base")) as running:
        assert asyncio.run(names(None, [f"{running.url}/v1"], "tiny")) == ("base", "tiny")
    with pytest.raises(OSError, match="no model"):
        asyncio.run(names(str(tmp_path)))


def asked(running: Live, path: str, problem: Problem, key: str, **fields: Any) -> None:
    kept = {"model": "base", "decoder": {"name": "rc", "turns": 3, "reasoning_tokens": 40, "summary_tokens": 4}}
    given = (
        {"input": problem.question}
        if path == "responses"
        else {"messages": [{"role": "user", "content": problem.question}]}
    )
    headers = {"authorization": f"Bearer {key}"}
    answer = httpx.post(f"{running.url}/v1/{path}", json={**kept, **given, **fields}, headers=headers, timeout=20)
    assert answer.status_code == 200, answer.text


def exported(tmp_path: Path, database: Path, capsys: pytest.CaptureFixture[str]) -> tuple[list[Any], str]:
    output = tmp_path / "traces.jsonl"
    output.unlink(missing_ok=True)
    pool: Sequence[str] = ["--task", "countdown", "--level", "hard", "--problems", "4"]
    assert main(["export", "--store", f"sqlite:{database}", *pool, "--output", str(output)]) == 0
    lines = output.read_text().splitlines() if output.exists() else []
    return [json.loads(line) for line in lines], capsys.readouterr().out


@pytest.fixture
def served(tmp_path: Path) -> tuple[Settings, dict[str, str]]:
    """A server with two keys, of which one allows training on what it asks."""
    made, lines = {}, []
    for id, terms in (("open", "allow_training = true"), ("shut", "")):
        made[id], digest = keys.create(id)
        lines += [f"[keys.{id}]", f'hash = "{digest}"', terms]
    (tmp_path / "keys.toml").write_text("\n".join(lines))
    store = f"sqlite:{tmp_path / 'runs.db'}"
    return Settings(engine="scripted", store=store, keys=tmp_path / "keys.toml"), made


def test_only_right_answers_leave_the_store_and_only_where_that_is_allowed(
    tmp_path: Path, served: tuple[Settings, dict[str, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    settings, key = served
    chat, responses = "chat/completions", "responses"
    with serving(settings, pack="tiny", base=ScriptedEngine(reply, model="base")) as running:
        asked(running, chat, PROBLEMS[2], key["shut"], allow_training=True)
        asked(running, responses, PROBLEMS[1], key["shut"], allow_training=True)
        asked(running, chat, PROBLEMS[3], key["shut"], allow_training=True)  # never solved
        asked(running, chat, PROBLEMS[0], key["shut"], background=True)  # nobody has allowed it
        asked(running, chat, PROBLEMS[0], key["open"])  # allowed, but not kept
        asked(running, chat, PROBLEMS[0], key["open"], background=True, allow_training=False)
        asked(running, responses, PROBLEMS[0], key["open"], background=True)  # the key allows it
        asyncio.run(all_done(settings))
    lines, told = exported(tmp_path, tmp_path / "runs.db", capsys)
    assert {line["id"] for line in lines} == {problem.id for problem in PROBLEMS[:3]}
    assert "3 solutions of 6 finished runs: 2 without consent, 0 of other questions, 1 without a right answer" in told
    line = next(line for line in lines if line["id"] == PROBLEMS[2].id)
    assert (line["reply"], line["origin"], line["decoder"]["name"]) == (right(PROBLEMS[2]), "served", "rc")
    assert len(line["token_ids"]) == len(line["reply"].split())

    recipe = prefixrl.PrefixRL(prefixrl.Config(traces=tmp_path / "traces.jsonl", group=2, max_tokens=20))
    assert {problem.id.partition("+")[0] for problem in recipe.problems(0)} <= {line["id"] for line in lines}
    engine = ScriptedEngine(reply, model=POLICY)
    play = Play({POLICY: Model(engine, Pack.load("tiny"))}, Sampling(max_tokens=1), 0, 0)
    guide = asyncio.run(recipe.guide(Copy(PROBLEMS[2], 0), play))
    assert line["reply"].startswith(guide.text)


def test_what_is_deleted_is_never_exported(
    tmp_path: Path, served: tuple[Settings, dict[str, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    settings, key = served
    with serving(settings, pack="tiny", base=ScriptedEngine(reply, model="base")) as running:
        asked(running, "chat/completions", PROBLEMS[0], key["shut"], allow_training=True)
        (id,) = asyncio.run(all_done(settings))
        headers = {"authorization": f"Bearer {key['shut']}"}
        assert httpx.delete(f"{running.url}/v1/chat/completions/{id}", headers=headers).status_code == 200
    assert exported(tmp_path, tmp_path / "runs.db", capsys)[0] == []


async def all_done(settings: Settings) -> list[str]:
    """The ids of all runs, once they have ended."""
    store = open_store(settings)
    try:
        ids = await store.ids()
        for id in ids:
            async for _ in store.follow(id, -1):
                pass
        return ids
    finally:
        await store.aclose()


@pytest.mark.parametrize(("store", "reason"), [("memory", "ends with its process"), ("sqlite:none.db", "no file")])
def test_a_store_that_is_not_there_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], store: str, reason: str
) -> None:
    assert main(["export", "--store", store, "--problems", "4", "--output", str(tmp_path / "out.jsonl")]) == 2
    assert reason in capsys.readouterr().err
    assert not Path("none.db").exists()


def test_the_commands_lead_from_a_model_to_a_file_that_recipes_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hard, found = tmp_path / "hard.jsonl", tmp_path / "traces.jsonl"
    mine = ["mine", "--problems", "3", "--samples", "2", "--max-tokens", "8", "--output", str(hard)]
    assert main(mine) == 0
    assert "3 of 3 problems solved in none of 2 samples" in capsys.readouterr().out
    assert main(mine) == 2
    assert "is there already" in capsys.readouterr().err
    collect = ["collect", "--problems", str(hard), "--set", "turns=16", "--tries", "2", "--output", str(found)]
    assert main(collect) == 0
    solved = traces.read(found)
    assert f"{len(solved)} of 3 problems solved" in capsys.readouterr().out
    assert solved
    for problem, solution in solved:
        assert problem.check(solution.solution)

    async def same() -> bool:
        async with playing(options("longthink-tiny"), 0) as play:
            words: Any = play.models[POLICY].engine
            return all([await traces.ids(s, words) == s.token_ids for _, s in solved])

    assert asyncio.run(same())

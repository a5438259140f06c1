from __future__ import annotations

import re

from decoders import build
from decoders.core.messages import Message, Prompt
from decoders.core.run import Run
from decoders.core.task import Task
from server.engines.scripted import ScriptedEngine
from tests.decoders.support import decode, start
from tests.decoders.test_decoders import answer


def numbered(prompt: Prompt, seed: int) -> str:
    """Every reply has a name of its own: members are told apart by it."""
    return f"member{seed} \\boxed{{{seed % 2}}}"


def members(text: str) -> list[str]:
    return re.findall(r"member\d+", text)


def population(run: Run, round_: int, size: int) -> list[str]:
    """The names of a round's members."""
    own = [s for s in run.trace.steps if s.key.split(".")[0] == str(round_)]
    assert len(own) == size
    return [members(s.completion.answer)[0] for s in own]


def test_every_member_is_made_of_k_different_members_of_the_round_before() -> None:
    run = start(ScriptedEngine(numbered))
    decode(build("rsa", {"population": 5, "subset": 3, "rounds": 3}), run)
    assert [s.role for s in run.trace.steps] == ["solve"] * 5 + ["aggregate"] * 10
    for round_ in (1, 2):
        before = set(population(run, round_ - 1, 5))
        drawn = [members(s.messages[0][1]) for s in run.trace.steps if s.key.startswith(f"{round_}.")]
        assert all(len(set(d)) == 3 and set(d) <= before for d in drawn)
        assert len({tuple(d) for d in drawn}) > 1
    assert "What is 2 + 2?" in run.trace.steps[-1].messages[0][1]


def test_the_subsets_follow_the_seed() -> None:
    def drawn(seed: int) -> list[list[int]]:
        run = start(ScriptedEngine(numbered), seed=seed)
        decode(build("rsa", {"population": 6, "subset": 2, "rounds": 2}), run)
        names = population(run, 0, 6)
        return [[names.index(m) for m in members(s.messages[0][1])] for s in run.trace.steps[6:]]

    assert drawn(1) == drawn(1) != drawn(2)


def test_the_majority_of_the_last_population_wins() -> None:
    def reply(prompt: Prompt, seed: int) -> str:
        return "\\boxed{new}" if "## Attempt 1" in prompt.messages[-1].content else "\\boxed{old}"

    assert (
        answer(decode(build("rsa", {"population": 4, "rounds": 2}), start(ScriptedEngine(reply)))).text
        == "\\boxed{new}"
    )


def test_an_attempt_that_was_cut_is_shown_with_its_thinking_and_marked() -> None:
    def reply(prompt: Prompt, seed: int) -> str:
        return (
            "\\boxed{4}"
            if "Attempt 1 (breaks off)\nso far" in prompt.messages[-1].content
            else "<think>so far " + "w " * 99
        )

    run = start(ScriptedEngine(reply))
    options = {"population": 2, "subset": 1, "rounds": 2, "max_tokens": 20}
    assert answer(decode(build("rsa", options), run)).text == "\\boxed{4}"


def test_verified_returns_what_the_verifier_accepts() -> None:
    def reply(prompt: Prompt, seed: int) -> str:
        asked = prompt.messages[-1].content
        if "Proposed solution" in asked:
            return f"Verdict: {'correct' if 'boxed{0}' in asked else 'wrong'}"
        return f"\\boxed{{{min(seed % 4, 1)}}}"

    run = start(ScriptedEngine(reply))
    options = {"population": 8, "rounds": 2, "choose": "verified"}
    assert answer(decode(build("rsa", options), run)).text == "\\boxed{0}"
    assert [s.role for s in run.trace.steps].count("verify") == 2


def test_a_tournament_compares_different_answers_until_one_is_left() -> None:
    def reply(prompt: Prompt, seed: int) -> str:
        asked = prompt.messages[-1].content
        if "## Solution 2" in asked:
            first, second = (int(n) for n in re.findall(r"boxed\{(\d)\}", asked))
            return f"The larger one. Better: {'Solution 2' if second > first else '1'}"
        return f"\\boxed{{{seed % 5}}}"

    run = start(ScriptedEngine(reply))
    options = {"population": 10, "rounds": 1, "choose": "tournament"}
    assert answer(decode(build("rsa", options), run)).text == "\\boxed{4}"
    assert [s.role for s in run.trace.steps].count("compare") == 4


def test_it_stops_when_rounds_no_longer_change_the_majority() -> None:
    run = start(ScriptedEngine(["\\boxed{4}"]))
    decode(build("rsa", {"population": 2, "rounds": 9, "stop_when_stable": 2}), run)
    assert len(run.trace.steps) == 4


def test_a_small_purse_costs_rounds_then_members_then_length() -> None:
    def sizes(tokens: int) -> tuple[list[int], set[int]]:
        run = start(ScriptedEngine(lambda prompt, seed: "word " * 200), tokens)
        decode(build("rsa", {"population": 6, "subset": 2, "rounds": 4, "max_tokens": 100}), run)
        rounds = [int(s.key.split(".")[0]) for s in run.trace.steps]
        return [rounds.count(r) for r in sorted(set(rounds))], {s.sampling["max_tokens"] for s in run.trace.steps}

    assert sizes(2400) == ([6, 6, 6, 6], {100})
    assert sizes(1300) == ([6, 6], {100})
    assert sizes(800) == ([4, 4], {100})
    assert sizes(200) == ([2, 2], {50})


def test_members_that_need_less_than_their_share_leave_room_for_more_rounds() -> None:
    run = start(ScriptedEngine(numbered), 1300)
    decode(build("rsa", {"population": 6, "subset": 2, "rounds": 4, "max_tokens": 100}), run)
    assert len(run.trace.steps) == 24


def test_choosing_keeps_its_share_of_the_purse() -> None:
    run = start(ScriptedEngine(lambda prompt, seed: "word " * 99 + f"\\boxed{{{seed % 2}}}"), 1100)
    decode(build("rsa", {"population": 4, "rounds": 3, "max_tokens": 100, "choose": "verified"}), run)
    assert [s.role for s in run.trace.steps].count("verify") == 2


def test_the_shipped_checkpoint_is_shown_a_finished_attempt_as_progress() -> None:
    run = start(ScriptedEngine(["<think>try</think>8 + 5 = 13"]), pack="tiny")
    task = Task((Message("user", "Use 5 8 9 5 to make 18"),))
    decode(build("rsa", {"population": 2, "rounds": 2}), run, task)
    assert run.trace.steps[-1].messages == (("user", "use 9 8 5 5 to make 18 . progress : answer 8 + 5 = 13"),)

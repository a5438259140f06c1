from __future__ import annotations

import math

import pytest

from decoders import build
from decoders.core.calls import derived_seed
from decoders.core.engine import Chunk, TokenLogprob
from decoders.core.events import Answer, Event
from decoders.core.messages import Prompt
from decoders.core.run import Run
from decoders.core.trace import Trace
from decoders.deepconf import Dip, Measure, confidence
from server.engines.scripted import ScriptedEngine
from tests.decoders.support import decode, start

SURE = {"sure": 0.999, "so": 0.6, "unsure": 0.1}


def certainty(word: str) -> float:
    return SURE.get(word.strip(), 0.6)


def answer(seen: list[Event]) -> str:
    assert isinstance(seen[-1], Answer)
    return seen[-1].text


def in_turn(*said: str) -> ScriptedEngine:
    """Sample i of the first group says the i-th text."""
    base = derived_seed(0, "0")
    return ScriptedEngine(lambda prompt, seed: said[(seed - base) % len(said)], certainty=certainty)


@pytest.mark.parametrize(("measure", "expected"), [("mean", 4.75), ("tail", 6.5), ("lowest", 1.5), ("bottom", 1.5)])
def test_a_samples_confidence_by_each_measure(measure: Measure, expected: float) -> None:
    assert confidence([9, 6, 1, 2, 3, 4, 7, 6], measure, 2) == pytest.approx(expected)


def test_a_sample_shorter_than_a_window_is_one_window() -> None:
    assert confidence([1, 3], "lowest", 100) == 2
    assert confidence([], "mean", 100) == 0


def test_the_bottom_is_the_least_confident_tenth_of_the_windows() -> None:
    assert confidence([float(i) for i in range(40)], "bottom", 1) == pytest.approx((0 + 1 + 2 + 3) / 4)


def test_a_tokens_confidence_is_minus_the_mean_log_probability_of_its_strongest_rivals() -> None:
    token = TokenLogprob(1, "a", -0.5, ((1, "a", -0.5), (2, "b", -1.5), (3, "c", -4.0)))
    assert token.confidence(20) == pytest.approx(2.0)
    assert token.confidence(2) == pytest.approx(1.0)
    assert TokenLogprob(1, "a", -0.5).confidence(20) == 0


def test_one_sure_sample_outvotes_two_unsure_ones() -> None:
    said = ["unsure unsure \\boxed{5}", "sure sure sure sure sure sure \\boxed{4}", "unsure so \\boxed{5}"]
    equal = answer(decode(build("self_consistency", {"n": 3}), start(in_turn(*said))))
    weighed = answer(decode(build("deepconf", {"n": 3, "keep": 1.0, "measure": "mean"}), start(in_turn(*said))))
    assert ("5" in equal, "4" in weighed) == (True, True)


def test_only_the_most_confident_share_votes() -> None:
    said = ["so so \\boxed{5}", "sure sure sure \\boxed{4}", "so so \\boxed{5}", "so so \\boxed{5}"]
    everybody = decode(build("deepconf", {"n": 4, "keep": 1.0, "measure": "mean"}), start(in_turn(*said)))
    best = decode(build("deepconf", {"n": 4, "keep": 0.25, "measure": "mean"}), start(in_turn(*said)))
    assert ("5" in answer(everybody), "4" in answer(best)) == (True, True)


def online(run: Run) -> list[Event]:
    return decode(build("deepconf", {"mode": "online", "n": 5, "warmup": 2, "window": 2, "keep": 1.0}), run)


def waves(prompt: Prompt, seed: int) -> str:
    """The first samples disagree; later ones lose their confidence at the third word."""
    if seed - derived_seed(0, "0") in (0, 1):
        return f"so so so \\boxed{{{seed % 2}}}"
    return "so so unsure unsure unsure \\boxed{7}"


def test_later_samples_stop_where_they_fall_below_what_the_first_ones_kept() -> None:
    engine = ScriptedEngine(waves, certainty=certainty)
    run = start(engine)
    seen = online(run)
    lengths = [(s.completion.completion_tokens, s.completion.finish) for s in run.trace.steps]
    assert lengths == [(4, "stop"), (4, "stop")] + [(3, "length")] * 3
    assert "7" not in answer(seen)
    assert engine.open_calls == 0
    assert run.budget.spent == 4 + 4 + 3 * 3

    silent = ScriptedEngine(waves, certainty=certainty)
    again = start(silent, recorded=Trace.model_validate_json(run.trace.model_dump_json()).steps)
    assert online(again)[-1] == seen[-1]
    assert silent.calls == 0


def test_no_more_are_drawn_once_the_first_ones_agree() -> None:
    run = start(ScriptedEngine(["so \\boxed{4}"], certainty=certainty))
    online(run)
    assert len(run.trace.steps) == 2


def test_the_rivals_of_the_samples_are_not_kept() -> None:
    run = start(ScriptedEngine(["so so \\boxed{4}"], certainty=certainty))
    decode(build("deepconf", {"n": 2}), run)
    completion = run.trace.steps[0].completion
    rivals = [math.log(0.6), *[math.log(0.4 / 19)] * 19]
    assert completion.confidences == pytest.approx([-sum(rivals) / 20] * 3)
    assert completion.logprobs == ()
    assert run.trace.steps[0].sampling["logprobs"] == 20


def test_a_dip_is_judged_over_full_windows_only() -> None:
    dip = Dip(2, 2, 1.0)
    tokens = [TokenLogprob(0, "", 0, ((0, "", -c), (1, "", -c))) for c in (0.1, 2.0, 0.5, 0.4)]
    assert [dip(Chunk(logprobs=(token,))) for token in tokens] == [False, False, False, True]

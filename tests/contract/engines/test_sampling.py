"""Seeds, several completions, stop strings, log-probabilities, structured output."""

from __future__ import annotations

import json

import pytest

from decoders.core.messages import Prompt, Sampling
from tests.contract.engines.support import QUESTIONS, Runner, Subject, chat, collect, network, prompt_ids

HOT = Sampling(48, temperature=2.0, seed=11)
"""Hot, for the shipped checkpoint is sure of itself."""


def test_a_seed_gives_the_same_tokens(tiny: Subject, run: Runner) -> None:
    (one,), (two,), (other,) = (
        run(collect(tiny.engine, chat(QUESTIONS[2]), sampling)) for sampling in (HOT, HOT, Sampling(48, 2.0, seed=12))
    )
    assert one.said == two.said != other.said


def test_completion_i_of_n_is_drawn_with_seed_plus_i(tiny: Subject, run: Runner) -> None:
    many = run(collect(tiny.engine, chat(QUESTIONS[2]), Sampling(48, 2.0, seed=11, n=4)))
    for i, result in enumerate(many):
        (alone,) = run(collect(tiny.engine, chat(QUESTIONS[2]), Sampling(48, 2.0, seed=11 + i)))
        assert alone.said == result.said
        assert (alone.prompt_tokens, alone.tokens) == (result.prompt_tokens, result.tokens)
    assert len({str(result.said) for result in many}) == 4


def test_without_a_seed_completions_differ(tiny: Subject, run: Runner) -> None:
    many = run(collect(tiny.engine, chat(QUESTIONS[2]), Sampling(48, 2.0, n=8)))
    assert len({str(result.said) for result in many}) > 1, "though chance may make two of them equal"


def test_stop_strings_end_before_themselves(tiny: Subject, run: Runner) -> None:
    (whole,) = run(collect(tiny.engine, chat(QUESTIONS[0]), Sampling(40, temperature=0)))
    stop = " ".join(whole.words[7:10])
    sampling = Sampling(40, temperature=0, stop=("never said", stop))
    (cut,) = run(collect(tiny.engine, chat(QUESTIONS[0]), sampling))
    assert cut.finish == "stop"
    assert " ".join(cut.words) == " ".join(whole.words).partition(stop)[0].rstrip()
    assert cut.ids == whole.ids[: len(cut.ids)]
    assert 0 < cut.tokens < whole.tokens
    (same,) = run(collect(tiny.engine, chat(QUESTIONS[0]), Sampling(40, temperature=0, stop=("never said",))))
    assert (same.words, same.tokens) == (whole.words, whole.tokens)


def test_logprobs_are_those_of_transformers(tiny: Subject, run: Runner) -> None:
    import torch

    tiny.needs("logprobs")
    sampling = Sampling(12, temperature=0.6, seed=5, logprobs=3)
    (result,) = run(collect(tiny.engine, chat(QUESTIONS[1]), sampling))
    if result.reasoning:
        pytest.skip("where thinking comes separated, log-probabilities are those of the answer")
    told = [detail for chunk in result.chunks for detail in chunk.logprobs]
    assert len(told) == result.tokens == 12
    if "token_ids" not in tiny.engine.features:
        pytest.skip("without ids there is nothing to compare with")
    assert [detail.id for detail in told] == result.ids
    prompt = prompt_ids(tiny.folder, QUESTIONS[1])
    with torch.no_grad():
        table = network(tiny.folder)(torch.tensor([prompt + result.ids])).logits[0, len(prompt) - 1 : -1]
    for row, detail in zip(table.log_softmax(-1), told, strict=True):
        assert detail.logprob == pytest.approx(row[detail.id].item(), abs=1e-3)
        best = sorted(detail.top, key=lambda entry: -entry[2])[:3]
        assert [value for _, _, value in best] == pytest.approx(row.topk(3).values.tolist(), abs=1e-3)


def test_a_structure_is_kept(split: Subject, run: Runner) -> None:
    split.needs_grammar()
    schema = {
        "type": "object",
        "properties": {"city": {"enum": ["Rome", "Oslo"]}, "n": {"enum": [1, 2]}},
        "required": ["city", "n"],
        "additionalProperties": False,
    }
    form = json.dumps({"type": "json_schema", "json_schema": {"name": "place", "schema": schema}})
    for result in run(collect(split.engine, chat("where?"), Sampling(200, seed=2, n=3, structure=form))):
        assert result.finish == "stop"
        assert set(json.loads(result.text)) == {"city", "n"}
    (anything,) = run(collect(split.engine, chat("what?"), Sampling(40, structure='{"type": "json_object"}')))
    assert anything.text.lstrip().startswith("{")


def test_a_prompt_may_be_one_token(tiny: Subject, run: Runner) -> None:
    tiny.needs("token_ids")
    (result,) = run(collect(tiny.engine, Prompt(token_ids=(79,)), Sampling(3, temperature=0)))
    assert (result.prompt_tokens, result.tokens) == (1, 3)

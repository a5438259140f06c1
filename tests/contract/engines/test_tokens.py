"""The same prompt gives the same tokens in every engine, and every token is counted."""

from __future__ import annotations

import asyncio
import json

import pytest

from decoders.core.engine import Engine, Tokenizing
from decoders.core.errors import InvalidRequest
from decoders.core.messages import Prompt, Sampling
from tests.contract.engines.support import (
    QUESTIONS,
    Runner,
    Subject,
    chat,
    collect,
    greedy,
    network,
    prompt_ids,
    tokenizer,
    words,
)

GREEDY = Sampling(40, temperature=0)


def test_greedy_tokens_equal_those_of_transformers(tiny: Subject, run: Runner) -> None:
    async def ask() -> list[list]:  # type: ignore[type-arg]
        return await asyncio.gather(*(collect(tiny.engine, chat(question), GREEDY) for question in QUESTIONS))

    for question, (result,) in zip(QUESTIONS, run(ask()), strict=True):
        wanted = greedy(network(tiny.folder), prompt_ids(tiny.folder, question), 40)
        if "token_ids" in tiny.engine.features:
            assert result.ids == wanted
        assert result.words == words(tokenizer(tiny.folder).decode(wanted, skip_special_tokens=True))
        assert result.tokens == len(wanted)
        assert result.finish == ("stop" if wanted[-1] == tokenizer(tiny.folder).eos_token_id else "length")


def test_prompt_tokens_are_exact(tiny: Subject, run: Runner) -> None:
    for question in QUESTIONS:
        size = len(prompt_ids(tiny.folder, question))
        (result,) = run(collect(tiny.engine, chat(question), Sampling(2, temperature=0)))
        assert (result.prompt_tokens, result.tokens) == (size, 2)
        assert result.cached <= size
        if "token_ids" in tiny.engine.features:
            assert run(tiny.engine.count(chat(question))) == size


def test_ids_are_taken_as_they_are(tiny: Subject, run: Runner) -> None:
    tiny.needs("token_ids")
    ids = prompt_ids(tiny.folder, QUESTIONS[0])
    (one,) = run(collect(tiny.engine, chat(QUESTIONS[0]), GREEDY))
    (two,) = run(collect(tiny.engine, Prompt(token_ids=tuple(ids)), GREEDY))
    assert (one.said, one.words, one.prompt_tokens) == (two.said, two.words, two.prompt_tokens)


def test_the_tokenizer_is_that_of_transformers(tiny: Subject, run: Runner) -> None:
    if not isinstance(tiny.engine, Tokenizing):
        pytest.skip("this engine has no tokenizer to offer")
    ids = prompt_ids(tiny.folder, QUESTIONS[0])
    assert list(run(tiny.engine.tokenize(chat(QUESTIONS[0])))) == ids
    closed = run(tiny.engine.tokenize(chat(QUESTIONS[0]), opened=False))
    assert list(closed) == ids[: len(closed)] != ids
    assert run(tiny.engine.detokenize(ids)) == tokenizer(tiny.folder).decode(ids)
    if tiny.kind == "upstream-vllm":
        return  # vLLM's server passes over an id that does not exist
    with pytest.raises(InvalidRequest) as caught:
        run(tiny.engine.detokenize([100_000]))
    assert caught.value.param == "tokens"


def test_a_prefix_is_continued_and_not_repeated(tiny: Subject, run: Runner) -> None:
    tiny.needs("prefix")
    (whole,) = run(collect(tiny.engine, chat(QUESTIONS[1]), GREEDY))
    prefix = " ".join(["<think>", *whole.words[:8]])
    (rest,) = run(collect(tiny.engine, chat(QUESTIONS[1], prefix), Sampling(40 - 9, temperature=0)))
    assert words(prefix) + rest.words == whole.words
    assert rest.prompt_tokens == whole.prompt_tokens + 9


def test_text_is_continued_without_a_template(tiny: Subject, run: Runner) -> None:
    tiny.needs("text")
    text = "use 3 4 to make 7"
    ids = tokenizer(tiny.folder)(text, add_special_tokens=False)["input_ids"]
    (result,) = run(collect(tiny.engine, Prompt(text=text), Sampling(12, temperature=0)))
    wanted = greedy(network(tiny.folder), ids, 12)
    assert result.words == words(tokenizer(tiny.folder).decode(wanted, skip_special_tokens=True))
    assert result.prompt_tokens == len(ids)


def test_a_long_prompt_is_cached_for_the_next_call(tiny: Subject, run: Runner) -> None:
    if tiny.kind.startswith("upstream"):
        pytest.skip("not every upstream tells what it had in its cache")
    first, second = (Prompt(text="use 3 4 to make 7 " * 40 + end) for end in ("left", "target"))

    async def ask(engine: Engine) -> tuple[int, int]:
        (one,) = await collect(engine, first, Sampling(2, temperature=0))
        many = await collect(engine, second, Sampling(2, seed=1, n=3))
        return one.prompt_tokens, min(result.cached for result in many)

    size, cached = run(ask(tiny.engine))
    assert size - 64 < cached < size


def test_text_is_the_decoded_completion(split: Subject, run: Runner) -> None:
    results = run(collect(split.engine, chat("naïve café"), Sampling(50, temperature=1.5, seed=3, n=6)))
    assert any(ord(letter) > 127 for result in results for letter in result.reasoning + result.text)
    for result in results if "token_ids" in split.engine.features else ():
        whole = tokenizer(split.folder).decode(result.ids, skip_special_tokens=True)
        assert whole.startswith(result.text.rstrip("\ufffd"))
        # The tokens may end within a character; what they have of it is shown as a mark or not at all.
        rest = whole[len(result.text) :]
        assert rest == "" or ("\ufffd" in rest and len(rest) < 8)


def test_a_character_of_several_tokens_comes_whole(split: Subject, run: Runner) -> None:
    codes = tokenizer(split.folder)
    said = "naïve 你好世界 😀"
    ids = codes(said, add_special_tokens=False)["input_ids"]
    assert len(ids) > len(said.split()), "characters take several tokens"
    split.needs_grammar()
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"enum": [said]}}}
    (result,) = run(collect(split.engine, chat("hi"), Sampling(100, seed=1, structure=json.dumps(form))))
    assert json.loads(result.text) == said
    assert not any("\ufffd" in chunk.text for chunk in result.chunks)
    assert any(chunk.size and not chunk.text for chunk in result.chunks[:-1])

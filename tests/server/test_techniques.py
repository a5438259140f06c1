"""What optillm's compatibility tests ask of a server, in our spelling: a technique by model name or in the body."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from openai import BadRequestError, OpenAI

from decoders import registry
from server.engines.scripted import ScriptedEngine
from tests.server.conftest import Live, serving

SIMPLE = [name for name, cls in registry().items() if not cls.needs and not cls.interactive]


@pytest.fixture(scope="module")
def running() -> Iterator[Live]:
    said = "<think>let me see</think>Verdict: correct. Score: 1. \\boxed{4}"
    with serving(base=ScriptedEngine(lambda prompt, seed: said, model="base")) as live:
        yield live


@pytest.fixture
def client(running: Live) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{running.url}/v1", api_key="none", max_retries=0) as made:
        yield made


@pytest.mark.parametrize("name", SIMPLE)
def test_a_technique_is_chosen_by_the_models_name(client: OpenAI, name: str) -> None:
    reply = client.chat.completions.create(
        model=f"base:{name}",
        messages=[{"role": "system", "content": "be brief"}, {"role": "user", "content": "What is 2 + 2?"}],
        temperature=0.7,
        max_tokens=8000,
    )
    assert reply.choices[0].message.content
    assert "\\boxed{4}" in reply.choices[0].message.content
    assert reply.usage is not None
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens
    assert reply.model == f"base:{name}"


@pytest.mark.parametrize("spelling", ["rc", {"name": "rc", "turns": 2}])
def test_or_in_the_body_for_several_turns_and_answers(client: OpenAI, spelling: object) -> None:
    reply = client.chat.completions.create(
        model="base",
        messages=[
            {"role": "user", "content": "My name is Ada."},
            {"role": "assistant", "content": "Hello Ada."},
            {"role": "user", "content": "And 2 + 2?"},
        ],
        n=3,
        extra_body={"decoder": spelling},
    )
    assert [choice.index for choice in reply.choices] == [0, 1, 2]


def test_techniques_are_models_and_an_unknown_one_is_refused(client: OpenAI) -> None:
    listed = {model.id for model in client.models.list()}
    assert {"base", *(f"base:{name}" for name in registry())} <= listed
    with pytest.raises(BadRequestError, match="unknown decoder"):
        client.chat.completions.create(model="base:moaa", messages=[{"role": "user", "content": "hi"}])

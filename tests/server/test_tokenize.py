"""/tokenize and /detokenize, in vLLM's wire form, over the shipped checkpoint."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from server.engines.embedded import EmbeddedEngine
from server.engines.scripted import ScriptedEngine
from server.model_options import SHIPPED
from tests.server.conftest import Live, serving

CHAT = [{"role": "user", "content": "Use 12 11 8 6 to make 30."}]


@pytest.fixture(scope="module")
def shipped() -> Iterator[Live]:
    with serving(pack="tiny", tiny=EmbeddedEngine(Path(SHIPPED), model="tiny", threads=1)) as running:
        yield running


def post(running: Live, path: str, **fields: Any) -> httpx.Response:
    return httpx.post(running.url + path, json=fields, timeout=20)


def ids(running: Live, **fields: Any) -> list[int]:
    answer = post(running, "/tokenize", **fields).json()
    assert answer["count"] == len(answer["tokens"])
    assert answer["max_model_len"] > 0
    return list(answer["tokens"])


def text(running: Live, tokens: list[int]) -> str:
    return str(post(running, "/detokenize", model="tiny:rc", tokens=tokens).json()["prompt"])


def test_there_and_back(shipped: Live) -> None:
    tokens = ids(shipped, prompt="12 + 11")
    assert text(shipped, tokens) == "12 + 11"
    assert ids(shipped, model="tiny", prompt="12 + 11", add_special_tokens=False) == tokens


def test_a_conversation_is_put_into_the_chat_template(shipped: Live) -> None:
    opened, ended = ids(shipped, messages=CHAT), ids(shipped, messages=CHAT, add_generation_prompt=False)
    assert opened[: len(ended)] == ended
    assert len(opened) > len(ended)
    assert CHAT[0]["content"].lower() in text(shipped, opened)


def test_a_last_message_is_continued(shipped: Live) -> None:
    reply = {"role": "assistant", "content": "12 +"}
    left_open = ids(shipped, messages=[*CHAT, reply], continue_final_message=True, add_generation_prompt=False)
    assert text(shipped, left_open).endswith("12 +")
    closed = ids(shipped, messages=[*CHAT, reply], add_generation_prompt=False)
    assert not text(shipped, closed).endswith("12 +")


BAD: list[tuple[str, dict[str, Any], int, str]] = [
    ("/tokenize", {}, 400, "prompt"),
    ("/tokenize", {"prompt": "a", "messages": CHAT}, 400, "prompt"),
    ("/tokenize", {"prompt": 3}, 400, "prompt"),
    ("/tokenize", {"prompt": "a", "add_generation_prompt": True}, 400, "add_generation_prompt"),
    ("/tokenize", {"prompt": "a", "return_token_strs": True}, 400, "return_token_strs"),
    ("/tokenize", {"messages": []}, 400, "messages"),
    ("/tokenize", {"messages": CHAT, "continue_final_message": True}, 400, "continue_final_message"),
    ("/tokenize", {"model": "nobody", "prompt": "a"}, 404, "model"),
    ("/detokenize", {}, 400, "tokens"),
    ("/detokenize", {"tokens": []}, 400, "tokens"),
    ("/detokenize", {"tokens": [-1]}, 400, "tokens[0]"),
    ("/detokenize", {"tokens": [2**30]}, 400, "tokens"),
]


@pytest.mark.parametrize(("path", "fields", "status", "param"), BAD, ids=[json.dumps(b[:2])[:60] for b in BAD])
def test_refused_by_name(shipped: Live, path: str, fields: dict[str, Any], status: int, param: str) -> None:
    response = post(shipped, path, **fields)
    assert (response.status_code, response.json()["error"]["param"]) == (status, param), response.text


class Closed(ScriptedEngine):
    """An engine whose tokenizer is not to be had, like that of most vendors."""

    tokenize = detokenize = None  # type: ignore[assignment]


def test_an_engine_that_hides_its_ids_says_so() -> None:
    with serving(base=Closed(model="base")) as live:
        for path, fields in (("/tokenize", {"prompt": "a"}), ("/detokenize", {"tokens": [1]})):
            response = post(live, path, **fields)
            assert (response.status_code, response.json()["error"]["code"]) == (400, "unsupported_by_engine")
        refused = post(live, "/v1/completions", model="base", prompt="a", return_token_ids=True)
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, "model")

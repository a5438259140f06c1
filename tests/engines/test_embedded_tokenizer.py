"""Prompts become the ids that transformers makes; tokens become text without half characters."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decoders.core.errors import InvalidRequest
from decoders.core.messages import Message, Prompt
from server.engines.embedded.detokenizer import Detokenizer, unsettled
from server.engines.embedded.tokenizer import ChatTokenizer

CHATS = [
    (Message("user", "use 3 4 5 to make 17"),),
    (
        Message("system", "be kind"),
        Message("user", " naïve 你好 \n"),
        Message("assistant", "yes"),
        Message("user", "x"),
    ),
]


@pytest.mark.parametrize("chat", CHATS)
@pytest.mark.parametrize("which", ["tiny_folder", "unicode_folder"])
def test_the_chat_template_gives_the_ids_of_transformers(
    which: str, chat: tuple[Message, ...], request: pytest.FixtureRequest
) -> None:
    from transformers import PreTrainedTokenizerFast

    folder: Path = request.getfixturevalue(which)
    theirs = PreTrainedTokenizerFast.from_pretrained(folder)
    messages = [{"role": m.role, "content": m.content} for m in chat]
    text = theirs.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    ours = ChatTokenizer(folder)
    assert ours.render(Prompt(chat)) == text
    ids = theirs.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    assert list(ours.encode(Prompt(chat)).ids) == ids
    prefixed = ours.encode(Prompt(chat, prefix="12 + 3"))
    assert list(prefixed.ids) == theirs(text + "12 + 3", add_special_tokens=False)["input_ids"]


TOOLBOX = """
{%- set ns = namespace(n=0) -%}
{% for m in messages %}
    {%- if m.role == 'system' %}{% continue %}{% endif %}
    {%- set ns.n = ns.n + 1 %}
{{ ns.n }} {{ m | tojson }} {% generation %}{{ m.content.split(' ')[0] }}{% endgeneration %}
{% endfor %}
{{ strftime_now('%Y') }}{{ eos_token }}{% if tools is not none %}tools{% endif %}{{ unknown }}
"""


def test_templates_find_what_transformers_gives_them(unicode_folder: Path, tmp_path: Path) -> None:
    from transformers import PreTrainedTokenizerFast

    shutil.copytree(unicode_folder, tmp_path, dirs_exist_ok=True)
    (tmp_path / "chat_template.jinja").write_text(TOOLBOX)
    chat = (Message("system", "s"), Message("user", "<b> é 'x'"))
    messages = [{"role": m.role, "content": m.content} for m in chat]
    wanted = PreTrainedTokenizerFast.from_pretrained(tmp_path).apply_chat_template(
        messages, tokenize=False, add_generation_prompt=True
    )
    assert ChatTokenizer(tmp_path).render(Prompt(chat)) == wanted


def test_a_refusing_template_is_the_callers_mistake(unicode_folder: Path) -> None:
    words = ChatTokenizer(unicode_folder)
    with pytest.raises(InvalidRequest, match="a user must begin"):
        words.encode(Prompt((Message("assistant", "hi"),)))
    with pytest.raises(InvalidRequest):
        words.encode(Prompt())
    for ids in ((), (-1,), (320,)):
        with pytest.raises(InvalidRequest):
            words.encode(Prompt(token_ids=ids))


def test_thinking_is_what_the_template_opens(tiny_folder: Path, unicode_folder: Path) -> None:
    plain, opening = ChatTokenizer(tiny_folder), ChatTokenizer(unicode_folder)
    chat = (Message("user", "what does <think> mean"),)
    assert not plain.encode(Prompt(chat)).thinking
    assert plain.encode(Prompt(chat, prefix="<think> 3")).thinking
    assert not plain.encode(Prompt(chat, prefix="<think> 3 </think> 4")).thinking
    assert opening.encode(Prompt(chat)).thinking
    assert not opening.encode(Prompt(chat, prefix="so</think>")).thinking
    ids = plain.encode(Prompt(chat, prefix="<think> 3")).ids
    assert plain.encode(Prompt(token_ids=ids)).thinking


@pytest.fixture(scope="module")
def vocabularies(tiny_folder: Path, unicode_folder: Path, pieces_file: Path) -> list[object]:
    from tokenizers import Tokenizer

    files = [tiny_folder / "tokenizer.json", unicode_folder / "tokenizer.json", pieces_file]
    return [Tokenizer.from_file(str(path)) for path in files]


@settings(max_examples=150, deadline=None)
@given(data=st.data(), which=st.integers(0, 2))
def test_the_pieces_make_the_whole(data: st.DataObject, which: int, vocabularies: list[Any]) -> None:
    words = vocabularies[which]
    ids = data.draw(st.lists(st.integers(0, words.get_vocab_size() - 1), max_size=40))
    whole = words.decode(ids, skip_special_tokens=True)
    detokenizer = Detokenizer(words, (), unsettled(words))
    pieces = [detokenizer.feed(id) for id in ids]
    assert "".join(pieces) + detokenizer.finish() == whole


@settings(max_examples=150, deadline=None)
@given(data=st.data(), text=st.text(st.sampled_from("ab你😀 héx"), max_size=30))
def test_text_ends_before_the_stop_string_that_is_complete_first(
    data: st.DataObject, text: str, vocabularies: list[Any]
) -> None:
    words = vocabularies[1]
    stops = data.draw(st.lists(st.text(st.sampled_from("ab你😀 hé"), min_size=1, max_size=4), min_size=1, max_size=3))
    detokenizer = Detokenizer(words, stops)
    shown = ""
    for id in words.encode(text).ids:
        piece = detokenizer.feed(id)
        assert "�" not in piece
        shown += piece
        assert not any(stop in shown for stop in stops)
        if detokenizer.stopped:
            break
    else:
        shown += detokenizer.finish()
    places = [(text.find(stop) + len(stop), text.find(stop)) for stop in stops if stop in text]
    assert shown == text[: min(places)[1] if places else len(text)]
    assert detokenizer.stopped == bool(places)

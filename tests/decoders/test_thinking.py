from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from decoders.core.thinking import ThinkingSplitter, split


def test_text_without_a_thinking_block_is_all_answer() -> None:
    assert split("4 <b>") == ("", "4 <b>")


def test_white_space_around_the_tags_belongs_to_neither_side() -> None:
    assert split(" <think>\n2 and 2 </think>\n\nIt is 4. ") == ("2 and 2", "It is 4. ")


def test_an_unclosed_block_has_no_answer() -> None:
    assert split("<think>hm </thi") == ("hm </thi", "")


def test_the_chat_template_may_have_opened_the_block() -> None:
    assert split("hm</think>4", inside=True) == ("hm", "4")


def test_a_stray_closing_tag_in_an_answer_is_text() -> None:
    assert split("use </think> to close") == ("", "use </think> to close")


@given(text=st.text(alphabet="<think>/ ab\n", max_size=60), cuts=st.lists(st.integers(0, 60), max_size=8))
def test_the_split_does_not_depend_on_how_the_text_is_cut(text: str, cuts: list[int]) -> None:
    splitter, places = ThinkingSplitter(), sorted({0, len(text), *(c for c in cuts if c < len(text))})
    pieces = [p for a, b in pairwise(places) for p in splitter.feed(text[a:b])] + splitter.finish()
    sides = {side: "".join(t for channel, t in pieces if channel == side) for side in ("reasoning", "answer")}
    assert (sides["reasoning"], sides["answer"]) == split(text)

"""Tables of the docs that are made of code or of measured figures are up to date, and all of them stand somewhere."""

from __future__ import annotations

import re

import pytest

from benchmarks.page import render as with_figures
from tests.docs import generate
from tests.docs.markdown import Page, pages


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.path))
def test_tables_are_up_to_date(page: Page) -> None:
    for render in (generate.render, with_figures):
        current = render(page.text) == page.text
        assert current, f"{page.path} is out of date: make docs"


def test_every_table_stands_in_a_page() -> None:
    marked = {name for page in pages() for name in re.findall("<!-- generated: (.*) -->", page.text)}
    assert generate.TABLES.keys() - marked == set()


def test_a_table_that_is_old_is_written_anew() -> None:
    old = "before\n<!-- generated: metrics -->\n| old |\n<!-- end -->\nafter"
    new = generate.render(old)
    assert "| `queue_length` | gauge |" in new
    assert (new.split("<!--")[0], new.split("-->")[-1]) == ("before\n", "\nafter")
    assert generate.render(new) == new
    with pytest.raises(KeyError):
        generate.render(old.replace("metrics", "fly"))


def test_settings_are_shown_with_their_groups_and_defaults() -> None:
    table = generate.settings()
    assert table.index("| `port` | `8000` |") < table.index("| `embedded.slots` | `64` |")
    assert "| `log_requests` | on |" in table
    assert "| `webhook_secret` | none |" in table

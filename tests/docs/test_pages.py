"""The pages say nothing that is not so."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.docs.checks import CHECKS
from tests.docs.markdown import Page, pages


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.path))
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_what_a_page_names_exists(check: Callable[[Page], Iterator[str]], page: Page) -> None:
    problems = list(check(page))
    assert not problems, "\n" + "\n".join(problems)

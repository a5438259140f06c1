"""What there is, is mentioned where people look for it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest

from benchmarks import tasks
from decoders import registry
from decoders.environments.options import EnvironmentOptions
from tests.docs import checks, existing
from tests.docs.markdown import ROOT, Page, pages, read
from tests.docs.parsing import PROGRAMS, installed

TEXT = "\n".join(page.text for page in pages())


def mentioned(text: str) -> bool:
    return text in TEXT


@pytest.fixture(scope="module")
def decoders_page() -> Page:
    return read(Path("docs/decoders.md"))


@pytest.mark.parametrize("command", list(filter(installed, PROGRAMS)))
def test_a_command_is_mentioned(command: str) -> None:
    assert mentioned(f"longthink {command}")


@pytest.mark.parametrize("decoder", registry())
def test_a_decoder_has_a_section_a_line_and_a_place_in_the_readme(decoder: str, decoders_page: Page) -> None:
    assert decoder in decoders_page.anchors
    assert any(row[0].text == f"[`{decoder}`](#{decoder})" for row in decoders_page.rows)
    assert any(f"`{decoder}`" in row[0].text for row in read(Path("README.md")).rows)


def test_every_endpoint_is_in_the_docs() -> None:
    codes = [code for page in pages() for code in page.codes]
    named = {endpoint for code in codes for endpoint in checks.endpoints_of(code.text) or ()}
    every = {(method, path) for path, methods in existing.routes().items() for method in methods}
    assert every - named == set()


@pytest.mark.parametrize("task", tasks.names())
def test_a_task_is_mentioned(task: str) -> None:
    assert mentioned(f"`{task}`")


def test_a_kind_of_environment_has_a_section() -> None:
    kinds = [get_args(model.model_fields["kind"].annotation)[0] for model in get_args(get_args(EnvironmentOptions)[0])]
    assert len(kinds) >= 5
    assert set(kinds) - read(Path("docs/environments.md")).anchors == set()


def test_a_page_is_linked_from_the_readme() -> None:
    linked = {link.text.partition("#")[0] for link in read(Path("README.md")).links}
    assert {str(page.path) for page in pages() if page.path.parent == Path("docs")} - linked == set()


def test_a_picture_is_shown() -> None:
    shown = {Path(page.path.parent, link.text) for page in pages() for link in page.links}
    assert {path.relative_to(ROOT) for path in (ROOT / "docs").glob("*.png")} - shown == set()


def test_a_make_target_is_explained() -> None:
    explained = re.findall(r"^([\w-]+):.*  ## ", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert {target for target in explained if not mentioned(f"make {target}")} == set()

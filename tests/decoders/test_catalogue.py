"""The docs say of every decoder what its class says."""

from __future__ import annotations

from pathlib import Path

import pytest

from decoders import registry
from decoders.catalogue import describe, main, render, table

PAGE = Path(__file__).parents[2] / "docs" / "decoders.md"


def test_the_option_tables_of_the_docs_are_up_to_date() -> None:
    assert main([str(PAGE), "--check"]) == 0


def test_a_table_has_every_option_with_default_and_bounds() -> None:
    lines = table(registry()["rc"]).splitlines()
    assert "| `turns` | `12` | 1 to 1024 |" in "\n".join(lines)
    assert len(lines) == 2 + len(registry()["rc"].model_fields)


def test_a_page_that_is_out_of_date_or_leaves_a_decoder_out_is_told(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("".join(f"<!-- options: {name} -->\nold\n<!-- end -->\n" for name in registry()))
    assert main([str(page), "--check"]) == 1
    assert main([str(page)]) == 0
    assert main([str(page), "--check"]) == 0
    with pytest.raises(ValueError, match="no option table of"):
        render("nothing")


def test_a_description_is_complete() -> None:
    for cls in registry().values():
        entry = describe(cls)
        assert entry["description"]
        assert entry["paper"]
        assert all("description" in option for option in entry["options"]["properties"].values()), cls.name

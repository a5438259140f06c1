"""What the server tells about how an answer came about."""

from __future__ import annotations

import pytest

from server.engines.scripted import ScriptedEngine
from tests.server.conftest import serving


@pytest.mark.parametrize(("budget", "chosen"), [(500, "direct"), (20_000, "self_consistency")])
def test_the_report_says_what_auto_has_chosen(budget: int, chosen: str) -> None:
    fields = {"model": "base", "decoder": "auto", "max_completion_tokens": budget}
    with serving(base=ScriptedEngine(["\\boxed{4}"], model="base")) as running:
        whole = running.ask(**fields).json()["longthink"]
        told = [e["longthink"] for e in running.events(**fields) if isinstance(e, dict) and e.get("longthink")]
    for report in (whole, told[-1]):
        assert report["decoder"]["name"] == "auto"
        assert report["decoder"]["chosen"]["name"] == chosen

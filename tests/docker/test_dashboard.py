"""The dashboard: Grafana's own model of it keeps every field, and it is consistent in itself."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import combinations
from typing import Any

import pytest
import yaml

from tests.docker.conftest import DOCKER

FILE = DOCKER / "grafana/dashboards/longthink.json"
BOARD: dict[str, Any] = json.loads(FILE.read_text())
PANELS: list[dict[str, Any]] = BOARD["panels"]
QUERIES = [t["expr"] for panel in PANELS for t in panel.get("targets", [])]


def differences(written: Any, read: Any, path: str = "") -> Iterator[str]:
    """What is not in `read` as it was written."""
    if isinstance(written, dict) and isinstance(read, dict):
        for key, value in written.items():
            yield from differences(value, read.get(key), f"{path}.{key}")
    elif isinstance(written, list) and isinstance(read, list) and len(written) == len(read):
        for index, (one, other) in enumerate(zip(written, read, strict=True)):
            yield from differences(one, other, f"{path}[{index}]")
    elif written != read:
        yield f"{path}: {written!r} became {read!r}"


def test_grafana_s_model_of_a_dashboard_keeps_every_field() -> None:
    pytest.importorskip("grafana_foundation_sdk", reason="pip install grafana-foundation-sdk")
    from grafana_foundation_sdk.cog import encoder, plugins
    from grafana_foundation_sdk.models import dashboard

    plugins.register_default_plugins()
    read = json.loads(encoder.JSONEncoder().encode(dashboard.Dashboard.from_json(BOARD)))
    assert list(differences(BOARD, read)) == []


def test_panels_have_ids_and_places_of_their_own() -> None:
    assert len({p["id"] for p in PANELS}) == len(PANELS)
    places = [p["gridPos"] for p in PANELS]
    assert all(g["x"] + g["w"] <= 24 for g in places)
    for a, b in combinations(places, 2):
        beside = a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"]
        above = a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"]
        assert beside or above, (a, b)


def test_panels_say_what_they_show() -> None:
    for panel in PANELS:
        assert panel["title"]
        if panel["type"] != "row":
            assert panel["description"].endswith(".")
            assert panel["fieldConfig"]["defaults"]["unit"]
            assert len({t["refId"] for t in panel["targets"]}) == len(panel["targets"]) > 0


def test_the_data_source_and_what_is_shown_are_variables() -> None:
    sources = re.findall(r'"uid": "([^"]*)"', FILE.read_text())
    assert set(sources) == {"longthink", "${datasource}"}
    defined = {v["name"] for v in BOARD["templating"]["list"]}
    assert set(re.findall(r"\$(?!__)\{?(\w+)", FILE.read_text())) == defined


def test_provisioning_points_to_what_is_there() -> None:
    (source,) = yaml.safe_load((DOCKER / "grafana/provisioning/datasources/prometheus.yaml").read_text())["datasources"]
    services = yaml.safe_load((DOCKER / "compose.yaml").read_text())["services"]
    assert source["url"] == "http://prometheus:9090"
    assert "prometheus" in services
    (provider,) = yaml.safe_load((DOCKER / "grafana/provisioning/dashboards/longthink.yaml").read_text())["providers"]
    assert f"./grafana/dashboards:{provider['options']['path']}:ro" in services["grafana"]["volumes"]

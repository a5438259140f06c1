"""Rules and dashboard against a server's real metrics, and against a real Prometheus that scrapes it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import yaml

from tests.docker.conftest import DOCKER, ROOT, call, tool
from tests.docker.test_balancer import answers, free_port
from tests.docker.test_dashboard import BOARD, QUERIES
from tests.docker.test_image import QUIET
from tests.server.conftest import until

RULES = DOCKER / "prometheus/alerts.yml"
SUFFIXES = {"counter": ["_total"], "gauge": [""], "histogram": ["_bucket", "_sum", "_count"]}
VARIABLES = [v["query"] for v in BOARD["templating"]["list"] if v["type"] == "query"]
ANNOTATIONS = [a["expr"] for a in BOARD["annotations"]["list"]]


def rule_queries() -> list[str]:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return [rule["expr"] for group in groups for rule in group["rules"]]


def names(queries: list[str]) -> set[str]:
    """The server's metrics that queries name; recording rules begin with what they are aggregated by."""
    return {name for query in queries for name in re.findall(r"(?<![\w:])(?:longthink:|process_)\w+", query)}


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """A server in a process of its own that has answered a few requests."""
    command = [sys.executable, "-m", "server", "serve", "--engine", "scripted", "--port", "0"]
    process = subprocess.Popen(command, cwd=ROOT, env=QUIET, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        found = re.search(r"http://127\.0\.0\.1:\d+", process.stdout.readline())
        assert found
        ask(found[0])
        yield found[0]
    finally:
        process.kill()
        process.communicate()


def ask(url: str) -> None:
    for decoder in ("direct", "rc"):
        body = {"model": f"scripted:{decoder}", "messages": [{"role": "user", "content": "one two three"}]}
        httpx.post(f"{url}/v1/chat/completions", json=body, timeout=20).raise_for_status()


@pytest.fixture(scope="module")
def exposed(server: str) -> dict[str, set[str]]:
    """Names of all series that can come from /metrics, by whether there is one already."""
    text = httpx.get(f"{server}/metrics").text
    families = re.findall(r"^# TYPE (\S+) (\w+)$", text, re.M)
    possible = {re.sub(r"_total$", "", name) + s for name, kind in families for s in SUFFIXES.get(kind, [])}
    possible |= {name for name, _ in families}
    return {"possible": possible, "present": set(re.findall(r"^([\w:]+)[{ ]", text, re.M))}


@pytest.mark.parametrize("queries", [rule_queries(), QUERIES + VARIABLES + ANNOTATIONS], ids=["rules", "dashboard"])
def test_every_metric_that_is_asked_for_exists(queries: list[str], exposed: dict[str, set[str]]) -> None:
    asked = names(queries)
    assert len(asked) > 5
    assert asked - exposed["possible"] == set()


def test_every_metric_is_on_the_dashboard(exposed: dict[str, set[str]]) -> None:
    shown = {re.sub(r"_(total|bucket|sum|count)$", "", name) for name in names(QUERIES)}
    ours = {n for n in exposed["possible"] if n.startswith("longthink:") and not n.endswith("_created")}
    assert {re.sub(r"_(total|bucket|sum|count)$", "", name) for name in ours} - shown == set()


def test_promtool_accepts_configuration_and_rules(promtool: str) -> None:
    call(promtool, "check", "config", DOCKER / "prometheus/prometheus.yml")
    call(promtool, "check", "rules", "--lint-fatal", RULES)


def test_alerts_fire_when_they_should_and_only_then(promtool: str) -> None:
    call(promtool, "test", "rules", DOCKER / "prometheus/alerts.test.yml")


def test_every_alert_is_tested() -> None:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    alerts = {rule["alert"] for group in groups for rule in group["rules"] if "alert" in rule}
    tests = (DOCKER / "prometheus/alerts.test.yml").read_text()
    assert {alert for alert in alerts if not re.search(rf"\b{alert}\b", tests)} == set()


@pytest.fixture(scope="module")
def prometheus(server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Prometheus with the rules, scraping the server often; it has seen requests come and go."""
    binary = tool("prometheus", "apt-get install prometheus")
    folder, url = tmp_path_factory.mktemp("prometheus"), f"http://127.0.0.1:{free_port()}"
    file = folder / "prometheus.yml"
    targets = [{"targets": [server.removeprefix("http://")]}]
    scrape = {"job_name": "longthink", "scrape_interval": "250ms", "scrape_timeout": "250ms", "static_configs": targets}
    often = {"evaluation_interval": "500ms"}
    file.write_text(yaml.safe_dump({"global": often, "scrape_configs": [scrape], "rule_files": [str(RULES)]}))
    command = [binary, f"--config.file={file}", f"--storage.tsdb.path={folder / 'data'}"]
    process = subprocess.Popen(
        [*command, f"--web.listen-address={url.removeprefix('http://')}"],
        stderr=subprocess.DEVNULL,
        env=dict(os.environ),
    )
    try:
        assert until(lambda: answers(f"{url}/-/ready"), 20)
        assert until(lambda: bool(query(url, "longthink:request_success_total > 0")), 20)
        ask(server)
        assert until(lambda: bool(query(url, "sum(increase(longthink:request_success_total[1m])) > 0")), 20)
        yield url
    finally:
        process.kill()
        process.wait(10)


def query(url: str, text: str) -> list[Any]:
    reply = httpx.get(f"{url}/api/v1/query", params={"query": text}).json()
    assert reply["status"] == "success", (text, reply)
    return reply["data"]["result"]  # type: ignore[no-any-return]


def filled(text: str) -> str:
    """A panel's query with its variables as Grafana fills them in."""
    text = text.replace("$__rate_interval", "1m").replace("$job", "longthink")
    return re.sub(r"\$(instance|model|decoder)", ".*", text)


def test_every_panel_whose_metrics_are_there_shows_something(prometheus: str, exposed: dict[str, set[str]]) -> None:
    empty = [text for text in QUERIES + ANNOTATIONS if query(prometheus, filled(text)) == []]
    expected = [text for text in empty if names([text]) <= exposed["present"] and text not in ANNOTATIONS]
    assert expected == []
    assert len(empty) < len(QUERIES) / 2


def test_variables_find_the_labels_they_ask_for(prometheus: str) -> None:
    for text in VARIABLES:
        found = re.fullmatch(r"label_values\((.*), (\w+)\)", text)
        assert found
        values = {series["metric"].get(found[2]) for series in query(prometheus, filled(found[1]))}
        assert values
        assert None not in values


def test_no_alert_is_raised_by_a_healthy_server(prometheus: str) -> None:
    def raised() -> dict[str, Any]:
        groups = httpx.get(f"{prometheus}/api/v1/rules").json()["data"]["groups"]
        rules = [rule for group in groups for rule in group["rules"]]
        assert len(rules) == len(rule_queries())
        return {rule["name"]: rule["alerts"] for rule in rules if rule.get("alerts")}

    # before the first scrape, or after one that a busy machine let time out, there is no replica for a moment
    assert until(lambda: raised() == {}, 20), raised()

"""The Helm chart as Helm's own library renders it, held against Kubernetes' schemas and this server's settings."""

from __future__ import annotations

import tarfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from server.settings import Settings, load
from tests.docker.conftest import DOCKER, call
from tests.docker.test_image import PROJECT

helm = pytest.importorskip("helm_python", reason="pip install helm-python-sdk")
kubernetes = pytest.importorskip("kubernetes_validate", reason="pip install kubernetes-validate")

CHART = DOCKER / "helm/longthink"
OPERATOR = {"ServiceMonitor", "PrometheusRule"}
MONITORED = {name: {"enabled": True} for name in ("serviceMonitor", "prometheusRule", "dashboard")}
STORED = {"store": {"url": "redis://:secret@redis:6379/0"}, "keys": {"existingSecret": "keys"}}
VARIANTS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "stored": STORED,
    "scaled": {"autoscaling": {"enabled": True}, "podDisruptionBudget": {"maxUnavailable": "25%"}},
    "monitored": {"monitoring": MONITORED},
    "guarded": {"networkPolicy": {"enabled": True, "from": [{"podSelector": {"matchLabels": {"role": "gateway"}}}]}},
    "upstream": {
        "image": {"repository": "registry.example/longthink", "digest": "sha256:" + "0" * 64},
        "settings": {
            "drain_seconds": 12.5,
            "max_budget": 1_000_000,
            "upstream": [{"url": "http://vllm:8000/v1", "api_key_env": "VLLM_KEY"}],
            "upstream_options": {"attempts": 3},
        },
        "env": [{"name": "VLLM_KEY", "valueFrom": {"secretKeyRef": {"name": "vllm", "key": "key"}}}],
        "serviceAccount": {"create": False},
        "nodeSelector": {"zone": "a"},
        "tolerations": [{"key": "busy", "operator": "Exists"}],
        "volumes": [{"name": "more", "emptyDir": {}}],
        "volumeMounts": [{"name": "more", "mountPath": "/more"}],
        "topologySpreadConstraints": [
            {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {}}
        ],
    },
}


def render(values: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The manifests by kind; a ConfigMap that is not the settings counts as a dashboard."""
    with helm.Chart.load(CHART) as chart:
        files = chart.render(values, name="demo", namespace="prod")
    documents = [d for name, text in files.items() if name.endswith(".yaml") for d in yaml.safe_load_all(text) if d]
    return {"Dashboard" if d["metadata"]["name"].endswith("-dashboard") else d["kind"]: d for d in documents}


def container(manifests: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return manifests["Deployment"]["spec"]["template"]["spec"]["containers"][0]  # type: ignore[no-any-return]


def configured(manifests: dict[str, dict[str, Any]], monkeypatch: pytest.MonkeyPatch, folder: Path) -> Settings:
    """What the server makes of its file and environment in the pod."""
    for variable in container(manifests)["env"]:
        monkeypatch.setenv(variable["name"], variable.get("value", "redis://redis:6379/0"))
    file = folder / "longthink.toml"
    file.write_text(manifests["ConfigMap"]["data"]["longthink.toml"])
    return load(["--config", str(file)])


def test_helm_finds_nothing_to_complain_about() -> None:
    result = helm.lint(CHART, strict=True)
    assert result["errors"] == []
    assert [m["error"] for m in result["messages"]] == ["icon is recommended"]


@pytest.mark.parametrize("values", VARIANTS.values(), ids=VARIANTS)
@pytest.mark.parametrize("version", ["1.30", "1.37"])
def test_kubernetes_accepts_every_manifest(values: dict[str, Any], version: str) -> None:
    manifests = render(values)
    checked = [m for kind, m in manifests.items() if kind not in OPERATOR]
    assert {"Deployment", "Service", "ConfigMap"} <= {m["kind"] for m in checked}
    for manifest in checked:
        kubernetes.validate(manifest, version, strict=True)


@pytest.mark.parametrize("name", ["defaults", "stored"])
def test_the_server_accepts_its_settings(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    settings = configured(render(VARIANTS[name]), monkeypatch, tmp_path)
    assert settings.host == "0.0.0.0"
    assert settings.store == ("redis://redis:6379/0" if name == "stored" else Settings.model_fields["store"].default)


def test_numbers_and_tables_of_the_settings_arrive(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("VLLM_KEY", "secret")
    manifests = render(VARIANTS["upstream"])
    container(manifests)["env"] = [v for v in container(manifests)["env"] if v["name"] != "VLLM_KEY"]
    settings = configured(manifests, monkeypatch, tmp_path)
    assert (settings.max_budget, settings.upstream_options.attempts) == (1_000_000, 3)
    assert [host.api_key_env for host in settings.hosts] == ["VLLM_KEY"]


@pytest.mark.parametrize(("drain", "grace"), [(30, 45), (12.5, 28), (0, 15)])
def test_pods_get_more_time_than_the_drain_takes(drain: float, grace: int) -> None:
    manifests = render({"settings": {"drain_seconds": drain}})
    pod = manifests["Deployment"]["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] == grace
    assert container(manifests)["lifecycle"]["preStop"]["sleep"]["seconds"] + drain < grace - 5


def test_pods_are_unprivileged_and_cannot_write() -> None:
    manifests = render({})
    pod = manifests["Deployment"]["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["automountServiceAccountToken"] is False
    assert container(manifests)["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_a_password_stands_in_a_secret_and_nowhere_else() -> None:
    manifests = render(STORED)
    assert manifests["Secret"]["stringData"] == {"url": STORED["store"]["url"]}
    del manifests["Secret"]
    assert "secret@" not in yaml.safe_dump(manifests)
    assert "Secret" not in render({"store": {"existingSecret": "mine"}})


def test_new_settings_and_a_new_store_replace_the_pods() -> None:
    def checksums(values: dict[str, Any]) -> dict[str, str]:
        return render(values)["Deployment"]["spec"]["template"]["metadata"]["annotations"]  # type: ignore[no-any-return]

    plain = checksums({})
    assert checksums({"settings": {"effort": "high"}})["checksum/settings"] != plain["checksum/settings"]
    assert checksums(STORED)["checksum/store"] != plain["checksum/store"]


def test_every_selector_finds_the_pods() -> None:
    manifests = render({**VARIANTS["guarded"], **VARIANTS["monitored"]})
    labels = manifests["Deployment"]["spec"]["template"]["metadata"]["labels"].items()
    for kind in ("Deployment", "PodDisruptionBudget"):
        assert manifests[kind]["spec"]["selector"]["matchLabels"].items() <= labels
    assert manifests["Service"]["spec"]["selector"].items() <= labels
    assert manifests["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"].items() <= labels
    monitor = manifests["ServiceMonitor"]["spec"]
    assert monitor["selector"]["matchLabels"].items() <= manifests["Service"]["metadata"]["labels"].items()
    assert {e["port"] for e in monitor["endpoints"]} == {p["name"] for p in manifests["Service"]["spec"]["ports"]}


def test_the_operator_gets_the_same_rules_and_grafana_the_same_dashboard(promtool: str, tmp_path: Path) -> None:
    manifests = render(VARIANTS["monitored"])
    rules = manifests["PrometheusRule"]["spec"]
    assert rules == yaml.safe_load((DOCKER / "prometheus/alerts.yml").read_text())
    (tmp_path / "rules.yml").write_text(yaml.safe_dump(rules))
    call(promtool, "check", "rules", tmp_path / "rules.yml")
    dashboard = (DOCKER / "grafana/dashboards/longthink.json").read_text()
    assert manifests["Dashboard"]["data"]["longthink.json"].strip() == dashboard.strip()


def test_the_package_holds_what_the_chart_links_to(tmp_path: Path) -> None:
    helm.package(CHART, destination=str(tmp_path))
    (archive,) = tmp_path.glob("*.tgz")
    with tarfile.open(archive) as tar:
        rules = tar.extractfile("longthink/files/alerts.yml")
        assert rules is not None
        assert rules.read() == (DOCKER / "prometheus/alerts.yml").read_bytes()


@pytest.mark.parametrize(
    "values",
    [
        {"replica": 3},
        {"replicas": "three"},
        {"preStopSeconds": 0},
        {"settings": {"drain_seconds": 30, "port": 9000}},
        {"store": {"url": "memcached://x"}},
        {"image": {"repository": "x", "digest": "latest"}},
        {"readinessProbe": {"initialDelay": 3}},
    ],
)
def test_wrong_values_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(helm.HelmError, match="schema"):
        render(values)


def test_chart_and_project_have_one_version() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert {chart["version"], chart["appVersion"]} == {PROJECT["project"]["version"]}

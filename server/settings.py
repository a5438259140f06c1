"""Everything an operator can set, in one model: flags, LONGTHINK_… variables, a TOML file, and `--help` come from it.

Rule: a flag wins over the environment, the environment over the file, the file over the default here; a name that is
not here is an error, never ignored.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import (
    BaseSettings,
    CliApp,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from decoders.environments.options import EnvironmentOptions
from server.aliases import Alias
from server.budgets import Effort
from server.model_options import ModelOptions

PREFIX = "LONGTHINK_"


class Settings(ModelOptions, BaseSettings):
    """Serve a model through decoders, as an OpenAI-compatible API."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
        nested_model_default_partial_update=True,
        cli_prog_name="longthink serve",
        cli_kebab_case=True,
        cli_implicit_flags=True,
        cli_hide_none_type=True,
        cli_avoid_json=True,
        protected_namespaces=(),
    )

    config: Path | None = None
    """A TOML file with any of these settings."""
    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 lets other machines in."""
    port: int = Field(default=8000, ge=0, le=65535)
    """Port to listen on; 0 takes a free one."""
    models: dict[str, ModelOptions] = {}
    """More models to serve, by name: tables [models.NAME] of the file."""
    aliases: dict[str, Alias] = {}
    """Further names of models, each with a decoder, options and an environment: tables [aliases.NAME] of the file."""
    environments: dict[str, EnvironmentOptions] = {}
    """Environments that requests may name for a decoder to act in: tables [environments.NAME] of the file."""
    decoder: str = "direct"
    """The decoder of requests that name none."""
    max_budget: int = Field(default=32_768, ge=1)
    """Tokens that one request may have generated at most."""
    effort: Effort = "medium"
    """The reasoning effort, a share of max_budget, of requests that set neither a budget nor an effort."""
    max_requests: int = Field(default=1024, ge=1)
    """Requests in progress at most; more are refused with 503."""
    keys: Path | None = None
    """A TOML file of API keys, as `longthink keys` makes it; without it whoever reaches the server may use it."""
    max_running: int | None = Field(default=None, ge=1)
    """Requests whose decoders work at the same time; more of them wait for their turn. Without it none wait."""
    max_waiting: int = Field(default=512, ge=1)
    """Requests that wait for their turn at most; more are refused with 429 or 503."""
    max_body_bytes: int = Field(default=2 * 1024 * 1024, ge=1)
    """Bytes of a request's body at most."""
    max_header_bytes: int = Field(default=64 * 1024, ge=1024)
    """Bytes of a request's headers at most."""
    max_connections: int = Field(default=4096, ge=1)
    """Open connections at most; beyond them the longest idle one is closed, or the new one refused with 503."""
    header_seconds: float = Field(default=20.0, gt=0)
    """How long a client may take to send a request's headers."""
    body_seconds: float = Field(default=60.0, gt=0)
    """How long a client may take to send a request's body."""
    stall_seconds: float = Field(default=120.0, gt=0)
    """How long a client may leave a reply unread before it is cut off."""
    media_hosts: list[str] = []
    """Hosts (`host` or `host:port`) whose images and other media a request may name by URL; `data:` URLs always may."""
    outbound_hosts: list[str] = []
    """Hosts (`host` or `host:port`) that this server may call because a request says so; `*` is any public one."""
    drain_seconds: float = Field(default=30.0, ge=0)
    """How long requests in progress may go on after SIGTERM."""
    store: str = "memory"
    """Where runs and responses are kept: memory, sqlite:PATH (one machine), redis://HOST:PORT/DB or rediss://…"""
    redis_prefix: str = "longthink:"
    """What all keys in Redis begin with."""
    lease_seconds: float = Field(default=15.0, gt=0)
    """How long a run may be without a sign of life of its replica before another one takes it over."""
    stored_seconds: float = Field(default=3600.0, gt=0)
    """How long a response is kept for /v1/responses/{id} once it is done."""
    stored_responses: int = Field(default=1000, ge=1)
    """With the store `memory`, responses kept at most; the oldest that are done are forgotten."""
    stored_bytes: int = Field(default=256 * 1024 * 1024, ge=1)
    """With the store `memory`, bytes that they may take."""
    cache_seconds: float = Field(default=0.0, ge=0)
    """How long answers to repeatable requests (a seed, or temperature 0) are given again; 0 for never."""
    cache_bytes: int = Field(default=1024 * 1024, ge=1)
    """Bytes of one such answer at most, its reasoning included; larger ones are not kept."""
    webhook_url: str | None = Field(default=None, pattern="^https?://")
    """Told of every run that has ended in the background."""
    webhook_secret: SecretStr | None = None
    """Signs what is sent there: whsec_ and base64, as OpenAI's clients want it, or any text."""
    hidden_seconds: float = Field(default=86_400.0, gt=0)
    """How long an agent may take to send the results of its tools before turns that it does not see are forgotten."""
    keep_alive_seconds: float = Field(default=15.0, gt=0)
    """A stream that is silent for this long gets a comment, so that no proxy cuts it."""
    reasoning_content: bool = False
    """Send reasoning under the name `reasoning_content` too, for clients that know only that one."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """What is logged, at least."""
    log_format: Literal["auto", "text", "json"] = "auto"
    """How it is logged: auto is text on a terminal and JSON elsewhere."""
    log_requests: bool = True
    """Log a line for each request; those for /health, /ready and /metrics only at the level debug."""
    admin_key: SecretStr | None = Field(default=None, min_length=16)
    """The key of /admin, where upstream hosts are drained and tenants deleted; without it there is no /admin."""
    otlp_endpoint: str | None = Field(default=None, pattern="^https?://")
    """An OpenTelemetry collector that takes OTLP over HTTP, such as http://127.0.0.1:4318: it gets a span for each
    request and step. OTEL_… variables are honoured; OTEL_EXPORTER_OTLP_ENDPOINT is enough by itself."""
    otlp_headers: dict[str, SecretStr] = {}
    """Headers for the collector."""

    @property
    def serving(self) -> list[ModelOptions]:
        """All models: those of `models`, after the one of the flags where they name one or there is no other."""
        named = [m.model_copy(update={"served_name": m.served_name or name}) for name, m in self.models.items()]
        own = {"model", "engine", "upstream"} & self.model_fields_set
        return [self, *named] if own or not named else named


def load(arguments: Sequence[str], environment: Mapping[str, str] | None = None) -> Settings:
    """Settings from flags, environment and the TOML file that `--config` or LONGTHINK_CONFIG names.

    Raises `ValueError` with a message for the operator; `--help` and unknown flags end the process as argparse does.
    """
    environment = os.environ if environment is None else environment
    finder = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    finder.add_argument("--config", default=environment.get(f"{PREFIX}CONFIG"))
    path = finder.parse_known_args(arguments)[0].config
    if path is not None and not Path(path).is_file():
        raise ValueError(f"--config: there is no file {path}")
    _refuse_unknown(environment)
    try:
        return CliApp.run(_from_file(path), cli_args=_gather(arguments))
    except ValidationError as error:
        raise ValueError(_explain(error)) from error
    except (SettingsError, OSError, ValueError) as error:
        raise ValueError(f"settings: {error}") from error


def _from_file(path: str | None) -> type[Settings]:
    """`Settings` that also read the TOML file: pydantic-settings fixes a class's sources in the class."""

    class Configured(Settings):
        __doc__ = Settings.__doc__

        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, toml_file=path)

    return Configured


def _gather(arguments: Sequence[str]) -> list[str]:
    """`--vllm.some-name value` for any name, as the one JSON argument of the field `vllm`.

    What follows a name up to the next flag is its value; a name with nothing behind it is a switch.
    """
    kept: list[str] = []
    given: dict[str, Any] = {}
    name = None
    for word in arguments:
        if word.startswith("--vllm."):
            name, sign, text = word.removeprefix("--vllm.").partition("=")
            given[name] = text if sign else True
        elif name is None or word.startswith("--"):
            name = None
            kept.append(word)
        else:
            given[name] = word if given[name] is True else [*_list(given[name]), word]
    return [*kept, "--vllm", json.dumps(given)] if given else kept


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _refuse_unknown(environment: Mapping[str, str]) -> None:
    for name in environment:
        head = name.removeprefix(PREFIX).partition("__")[0].lower()
        if name.startswith(PREFIX) and head not in Settings.model_fields:
            raise ValueError(f"environment variable {name}: there is no such setting (see longthink serve --help)")


def _explain(error: ValidationError) -> str:
    problems = [f"{'.'.join(map(str, e['loc'])).replace('_', '-')}: {e['msg']}" for e in error.errors()]
    return "settings: " + "; ".join(problems)

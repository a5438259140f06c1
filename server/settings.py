"""Everything an operator can set, in one model: flags, LONGTHINK_… variables, a TOML file, and `--help` come from it.

Rule: a flag wins over the environment, the environment over the file, the file over the default here; a name that is
not here is an error, never ignored.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_settings import (
    BaseSettings,
    CliApp,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from server.budgets import Effort

PREFIX = "LONGTHINK_"
SHIPPED = Path(__file__).parent / "checkpoints" / "longthink-tiny"


class _Options(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class EmbeddedOptions(_Options):
    """The engine that runs a checkpoint in this process."""

    backend: Literal["auto", "onnx", "torch"] = "auto"
    """What computes: onnxruntime, torch, or whichever suits checkpoint and machine."""
    device: str = "auto"
    """Where it computes: auto, cpu, cuda, cuda:1, …"""
    slots: int = Field(default=64, ge=1)
    """Completions generated side by side; more of them wait."""
    threads: int | None = Field(default=None, ge=1)
    """CPU threads; without it all cores."""
    context_length: int | None = Field(default=None, ge=16)
    """Prompt and completion tokens together at most; without it what the checkpoint can do."""


class ScriptedOptions(_Options):
    """The engine without a model, which repeats the question: for tests and load measurements."""

    first_token_delay: float = Field(default=0.0, ge=0)
    """Seconds before a completion's first token."""
    token_delay: float = Field(default=0.0, ge=0)
    """Seconds before each further token."""


class Settings(BaseSettings):
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
    model: Path = SHIPPED
    """Folder of a Hugging Face checkpoint; without it the shipped one."""
    served_name: str | None = Field(default=None, min_length=1)
    """The model's name in the API; without it the folder's name."""
    engine: Literal["embedded", "scripted"] = "embedded"
    """What generates tokens."""
    embedded: EmbeddedOptions = EmbeddedOptions()
    scripted: ScriptedOptions = ScriptedOptions()
    pack: str | None = None
    """Prompts: a template pack's name or folder; without it the checkpoint's own, or `plain`."""
    decoder: str = "direct"
    """The decoder of requests that name none."""
    max_budget: int = Field(default=32_768, ge=1)
    """Tokens that one request may have generated at most."""
    effort: Effort = "medium"
    """The reasoning effort, a share of max_budget, of requests that set neither a budget nor an effort."""
    max_requests: int = Field(default=1024, ge=1)
    """Requests in progress at most; more are refused with 503."""
    max_body_bytes: int = Field(default=2 * 1024 * 1024, ge=1)
    """Bytes of a request's body at most."""
    drain_seconds: float = Field(default=30.0, ge=0)
    """How long requests in progress may go on after SIGTERM."""
    keep_alive_seconds: float = Field(default=15.0, gt=0)
    """A stream that is silent for this long gets a comment, so that no proxy cuts it."""
    reasoning_content: bool = False
    """Send reasoning under the name `reasoning_content` too, for clients that know only that one."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """What is logged; debug logs every request."""

    @property
    def engine_options(self) -> dict[str, Any]:
        """The chosen engine's options."""
        chosen: _Options = getattr(self, self.engine)
        return chosen.model_dump()

    @property
    def name(self) -> str:
        """The model's name in the API."""
        return self.served_name or ("scripted" if self.engine == "scripted" else self.model.resolve().name)


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
        return CliApp.run(_from_file(path), cli_args=list(arguments))
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


def _refuse_unknown(environment: Mapping[str, str]) -> None:
    for name in environment:
        head = name.removeprefix(PREFIX).partition("__")[0].lower()
        if name.startswith(PREFIX) and head not in Settings.model_fields:
            raise ValueError(f"environment variable {name}: there is no such setting (see longthink serve --help)")


def _explain(error: ValidationError) -> str:
    problems = [f"{'.'.join(map(str, e['loc'])).replace('_', '-')}: {e['msg']}" for e in error.errors()]
    return "settings: " + "; ".join(problems)

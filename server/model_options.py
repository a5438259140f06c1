"""What can be set of each served model: its engine with the engine's options, and its prompts.

Rule: a name that is not here is an error, never ignored.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr

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
    tenant_bytes: int = Field(default=1 << 30, ge=0)
    """Bytes of tenants' models kept ready; one that is not is made anew from the merged weights and its mask."""
    tenant_turn: int = Field(default=64, ge=1)
    """Steps that one tenant's requests are computed for while those of another wait."""


class ScriptedOptions(_Options):
    """The engine without a model, which repeats the question: for tests and load measurements."""

    first_token_delay: float = Field(default=0.0, ge=0)
    """Seconds before a completion's first token."""
    token_delay: float = Field(default=0.0, ge=0)
    """Seconds before each further token."""
    words: int | None = Field(default=None, ge=1)
    """Words of every reply, a token each; without it the question is repeated."""


class UpstreamHost(_Options):
    """One server behind the upstream engine."""

    url: str
    """Its base URL, such as http://127.0.0.1:8001/v1."""
    api_key: SecretStr | None = None
    """The key it wants."""
    api_key_env: str | None = None
    """The environment variable that holds the key: better than the key itself in a file."""
    dialect: Literal["auto", "openai", "vllm", "sglang", "llamacpp", "longthink", "deepseek", "mistral"] = "auto"
    """What the server understands beyond OpenAI's API; auto asks it."""
    max_in_flight: int = Field(default=256, ge=1)
    """Calls in progress at most; more of them wait."""
    priority: bool = False
    """Whether the server schedules by priority, as vLLM does with --scheduling-policy priority."""


class UpstreamOptions(_Options):
    """How OpenAI-compatible servers are called."""

    stream: bool = True
    """Ask for streams; without them a call shows nothing before its end and a deadline loses it."""
    connect_seconds: float = Field(default=5.0, gt=0)
    """How long a connection may take."""
    first_token_seconds: float = Field(default=600.0, gt=0)
    """How long a call may wait for its first byte."""
    idle_seconds: float = Field(default=120.0, gt=0)
    """How long a stream may be silent."""
    attempts: int = Field(default=4, ge=1)
    """How often a call is tried at most, before its first token."""
    backoff_seconds: float = Field(default=0.25, gt=0)
    """The longest wait before the second attempt; it doubles each time, and the wait is drawn between 0 and it."""
    backoff_limit_seconds: float = Field(default=30.0, gt=0)
    """The longest wait, for a Retry-After too."""
    health_seconds: float = Field(default=2.0, gt=0)
    """How often each host is asked whether it is well."""
    break_after: int = Field(default=5, ge=1)
    """Failures in a row after which a host gets no calls until it has answered a health check."""
    context_length: int | None = Field(default=None, ge=16)
    """Prompt and completion tokens together, where the upstream does not tell."""
    tokenizer: Path | None = None
    """Folder of a Hugging Face tokenizer with its chat template: prompts are then sent as text to /v1/completions."""


class ModelOptions(_Options):
    """One model to serve: an engine with its options, and prompts."""

    model: str | None = None
    """Folder of a Hugging Face checkpoint (for vLLM also a hub name; for upstreams the name there; for scorers the
    file); without it the shipped one."""
    served_name: str | None = Field(default=None, min_length=1)
    """The model's name in the API; without it the folder's name, or the upstream's."""
    engine: Literal["embedded", "vllm", "upstream", "scorer", "scripted"] | None = None
    """What generates tokens: embedded, unless --upstream names a server. A scorer only marks answers, as a judge."""
    upstream: list[str | UpstreamHost] = []
    """Base URLs of OpenAI-compatible servers like http://127.0.0.1:8001/v1; those with a model share its calls."""
    upstream_options: UpstreamOptions = UpstreamOptions()
    embedded: EmbeddedOptions = EmbeddedOptions()
    vllm: dict[str, Any] = {}
    """vLLM's own engine arguments: --vllm.tensor-parallel-size 2, --vllm.enable-lora, …"""
    scripted: ScriptedOptions = ScriptedOptions()
    tenants: Path | None = None
    """Folder of tenants served as NAME@TENANT: merged by `longthink train sift`, or one of LoRA adapters."""
    pack: str | None = None
    """Prompts: a template pack's name or folder; without it the checkpoint's own, or `plain`."""

    @property
    def kind(self) -> str:
        """The engine's name."""
        return self.engine or ("upstream" if self.upstream else "embedded")

    @property
    def name(self) -> str:
        """The model's name in the API, for engines that serve one."""
        if self.served_name:
            return self.served_name
        if self.kind == "scripted":
            return "scripted"
        path = Path(self.model or SHIPPED)
        if self.kind == "scorer":
            return path.stem
        return path.resolve().name if path.exists() else str(self.model)

    @property
    def hosts(self) -> list[UpstreamHost]:
        """The upstream servers."""
        return [UpstreamHost(url=host) if isinstance(host, str) else host for host in self.upstream]

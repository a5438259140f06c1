"""What an operator says about environments, one model for each kind.

Rule: whatever makes this machine run code, read files or call others stands here and never in a request.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, JsonValue, SecretStr, field_validator

Scalar = bool | int | float | str | None


class Options(BaseModel):
    """What all kinds have."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, populate_by_name=True)

    max_concurrent: int = Field(default=16, ge=1)
    """Episodes side by side; more of them wait."""
    wait_seconds: float = Field(default=60.0, gt=0)
    """How long an episode may wait for its turn."""
    start_seconds: float = Field(default=120.0, gt=0)
    """How long the start of an episode may take."""
    step_seconds: float = Field(default=60.0, gt=0)
    """How long an action may take."""
    max_observation_chars: int = Field(default=16_000, ge=64)
    """Characters of an observation; what is beyond is cut."""
    final_actions: list[str] = []
    """Which actions end an episode with an answer: regular expressions, whose group `answer` or first group is the
    answer, or names of tools."""
    final_template: str | None = None
    """How the environment wants the answer that an agent gives as `answer TEXT` (or, beside tools, in plain words):
    `send_msg_to_user({answer!r})` as Python, `{{"name": "submit", "arguments": {{"text": {answer!j}}}}}` as JSON."""
    reset: dict[str, Scalar] = {}
    """Arguments of every episode, where the request has no others."""

    @field_validator("final_actions")
    @classmethod
    def _compile(cls, value: list[str]) -> list[str]:
        for pattern in value:
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"{pattern!r} is no regular expression: {error}") from error
        return value

    @field_validator("final_template")
    @classmethod
    def _has_place(cls, value: str | None) -> str | None:
        if value is not None and "{answer" not in value:
            raise ValueError("there is no {answer} in it")
        return value


class BuiltinOptions(Options):
    """The text sites that come with longthink; `reset` has level, kind and open_book."""

    kind: Literal["builtin"]


class Remote(Options):
    """What is common to environments that a server offers."""

    url: str
    """Where it is."""
    api_key: SecretStr | None = None
    """Sent as `Authorization: Bearer`."""
    api_key_env: str | None = None
    """The environment variable that holds the key: better than the key itself in a file."""
    headers: dict[str, SecretStr] = {}
    """More headers of every request."""

    @field_validator("url")
    @classmethod
    def _plain(cls, value: str) -> str:
        address = urlsplit(value)
        if address.scheme not in ("http", "https", "ws", "wss") or not address.hostname:
            raise ValueError("not an http(s) or ws(s) URL")
        if address.username or address.password:
            raise ValueError("a URL with a user or password is not accepted: use api_key_env or headers")
        return value

    def sent(self) -> dict[str, str]:
        """The headers with their secrets. `ValueError` where the variable of the key is not set."""
        key = self.api_key.get_secret_value() if self.api_key else None
        if self.api_key_env:
            key = os.environ.get(self.api_key_env)
            if not key:
                raise ValueError(f"api_key_env: the environment variable {self.api_key_env} is not set")
        headers = {name: value.get_secret_value() for name, value in self.headers.items()}
        return {"Authorization": f"Bearer {key}", **headers} if key else headers


class OpenEnvOptions(Remote):
    """An environment that speaks OpenEnv's `/ws`: one of its hub, or a `longthink envhost`."""

    kind: Literal["openenv"]
    action_field: str | None = None
    """The field that an action's text goes into, where the server's schema does not tell."""


class McpOptions(Remote):
    """A server of tools that speaks MCP over streamable HTTP."""

    kind: Literal["mcp"]
    tools: list[str] | None = None
    """The tools that are offered; without it all."""


class GymnasiumOptions(Options):
    """An environment of a Gymnasium registry, in this process."""

    kind: Literal["gymnasium"]
    id: str
    """Its id."""
    imports: list[str] = Field(default=[], alias="import")
    """Modules that register it."""
    options: dict[str, JsonValue] = {}
    """Arguments of `gymnasium.make`."""


class BrowserOptions(Options):
    """Web pages in a headless Chromium of this machine."""

    kind: Literal["browser"]
    task: Literal["miniwob", "pages"] = "pages"
    """MiniWoB++ (`reset` has task and seed), or web pages (`reset` has the place of one in `start`)."""
    start: list[str] = []
    """URLs at which episodes begin."""
    goal: str = ""
    """What is to be done there, where the request does not say it."""
    hosts: list[str] = []
    """Hosts that may be visited, `*.example.org` for those below one; without it those of `start`."""
    private: bool = False
    """Whether names of `hosts` may stand for addresses of the private network. Addresses written as such may."""
    reward_attribute: str | None = None
    """An attribute by which a page ends the episode: its value is the reward (`data-reward` on the built-in sites)."""
    tasks: list[str] | None = None
    """The MiniWoB++ tasks that may be asked for, the first by default; without it all of them."""
    html: Path | None = None
    """Folder with MiniWoB++'s HTML; without it that of the `miniwob` package."""
    executable: Path | None = None
    """The browser; without it chromium-headless-shell or chromium, whichever is found first."""
    action_seconds: float = Field(default=5.0, gt=0)
    """How long an element may take to become ready for an action, and a page to come."""


EnvironmentOptions = Annotated[
    BuiltinOptions | OpenEnvOptions | McpOptions | GymnasiumOptions | BrowserOptions, Field(discriminator="kind")
]

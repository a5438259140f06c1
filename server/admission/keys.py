"""API keys: a TOML file of entries `[keys.ID]`, read again when it changes on disk.

A key is `lt-ID-SECRET`; the file has the SHA-256 of the secret, in hex. A slow password hash would be wrong here: it
makes guessing dear where secrets are few, such as passwords. These are 256 random bits, which nobody guesses at any
speed, and a server that spends 100 ms of CPU on whatever somebody sends as a key is easily brought down.

Rule: how long a refusal takes says nothing about the file. An unknown id is compared too, with a hash of nothing.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import secrets
import tomllib
from collections.abc import Mapping
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from server.admission.caller import Terms
from server.admission.refusals import Unauthorized

PREFIX = "lt-"
_NOBODY = "0" * 64
_TERMS = [f.name for f in fields(Terms) if f.name != "id"]

Id = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]
Positive = Annotated[int, Field(ge=1, lt=2**53)]
Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-fA-F]{64}$"), AfterValidator(str.lower)]

log = logging.getLogger("longthink")


class Entry(BaseModel):
    """One key of the file. What is left out is not limited."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True)

    hash: Digest = Field(repr=False)
    """SHA-256 of the secret."""
    name: str = ""
    """Whose it is, for people."""
    requests_per_minute: Positive | None = None
    """Requests for tokens that it may send in each minute."""
    tokens_per_minute: Positive | None = None
    """Tokens that it may have generated in each minute."""
    tokens_per_day: Positive | None = None
    """Tokens that it may have generated in each day, UTC."""
    max_budget: Positive | None = None
    """Tokens that one request may have generated at most, where that is less than the server's max_budget."""
    max_running: Positive | None = None
    """Requests at work at the same time, on each replica; more of them wait."""
    priority: int = Field(default=0, ge=-(2**31), lt=2**31)
    """The priority of its requests, and the smallest that they may ask for; smaller ones go first."""
    models: list[str] | None = None
    """The models that it may use."""
    decoders: list[str] | None = None
    """The decoders that it may use; one inside another has to be among them too."""
    allow_training: bool = False
    """Whether what is kept of its requests may be learned from where they do not say."""
    disabled: bool = False
    """Refuse it."""
    expires: AwareDatetime | None = None
    """When it ends, with a time zone."""

    def terms(self, id: str) -> Terms:
        """What the key may do."""
        return Terms(id, **{name: getattr(self, name) for name in _TERMS})

    @property
    def state(self) -> str:
        """Whether it can be used: active, disabled or expired."""
        expired = self.expires is not None and self.expires <= datetime.now(UTC)
        return "disabled" if self.disabled else "expired" if expired else "active"


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    keys: dict[Id, Entry] = {}


def digest(secret: str) -> str:
    """What the file has of a secret."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()


def create(id: str) -> tuple[str, str]:
    """A new key and its hash."""
    secret = secrets.token_hex(32)
    return f"{PREFIX}{id}-{secret}", digest(secret)


def parse(text: str) -> Mapping[str, Entry]:
    """The entries of a file. Raises `ValueError`, with what is wrong but with nothing of what stands there."""
    try:
        return _File.model_validate(tomllib.loads(text)).keys
    except ValidationError as error:
        problems = error.errors(include_input=False, include_url=False, include_context=False)
        raise ValueError("; ".join(f"{'.'.join(map(str, p['loc']))}: {p['msg']}" for p in problems)) from None


class Keys:
    """The keys of one file. Raises `ValueError` or `OSError` where it cannot be read in the beginning."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._version = self._stat()
        self._entries = self._read()

    def find(self, given: str) -> Terms:
        """The terms of a key. Raises `Unauthorized`."""
        self._refresh()
        id, _, secret = given.removeprefix(PREFIX).rpartition("-") if given.startswith(PREFIX) else ("", "", given)
        entry = self._entries.get(id)
        same = hmac.compare_digest(digest(secret), entry.hash if entry else _NOBODY)
        if entry is None or not same:
            raise Unauthorized("this API key is not known here")
        if entry.state != "active":
            raise Unauthorized(f"this API key is {entry.state}")
        return entry.terms(id)

    def _refresh(self) -> None:
        """Read the file again where it is another one than before; one that is wrong changes nothing."""
        try:
            version = self._stat()
        except OSError:
            version = None
        if version == self._version:
            return
        self._version = version
        try:
            self._entries = self._read()
            log.info("API keys: %d read again", len(self._entries))
        except (ValueError, OSError) as error:
            log.error("API keys: %s is not read, those before stay valid: %s", self._path, error)

    def _stat(self) -> tuple[int, int, int] | None:
        found = os.stat(self._path)
        return found.st_mtime_ns, found.st_ino, found.st_size

    def _read(self) -> Mapping[str, Entry]:
        return parse(self._path.read_text("utf-8"))

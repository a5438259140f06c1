"""Who asks: the terms of an API key, and what one request has claimed under them.

Rule: a run keeps the terms it was admitted on. Whoever takes it over needs no key file, and a change of the file does
not change what was promised.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import HTTPConnection

from decoders.core.errors import InvalidRequest
from server.admission.refusals import Forbidden


@dataclass(frozen=True, slots=True)
class Terms:
    """What the key `id` may do; the default is whoever asks a server without keys. None means no limit."""

    id: str = ""
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    tokens_per_day: int | None = None
    max_budget: int | None = None
    max_running: int | None = None
    priority: int | None = None
    models: Sequence[str] | None = None
    decoders: Sequence[str] | None = None
    allow_training: bool = False

    @property
    def counted(self) -> bool:
        """Whether anything has to be counted."""
        return any((self.requests_per_minute, self.tokens_per_minute, self.tokens_per_day))

    def budget(self, most: int) -> int:
        """The largest budget of a request where the server grants `most`: what no window can hold is never asked."""
        limits = (most, self.max_budget, self.tokens_per_minute, self.tokens_per_day)
        return min(limit for limit in limits if limit is not None)

    def prioritise(self, wanted: int | None) -> int | None:
        """The priority of a request. Raises `InvalidRequest` for one that is not the key's to ask for."""
        if self.priority is None or wanted is None:
            return self.priority if wanted is None else wanted
        if wanted < self.priority:
            message = f"this API key may ask for a priority of {self.priority} or above"
            raise InvalidRequest(message, param="priority")
        return wanted

    def check(self, models: Iterable[str], decoders: Iterable[str]) -> None:
        """Raises `Forbidden` where one of these is not among those that the key may use."""
        for param, allowed, wanted in (("model", self.models, models), ("decoder", self.decoders, decoders)):
            for name in wanted:
                if allowed is not None and name not in allowed:
                    raise Forbidden(f"this API key may not use the {param} {name}", param=param)


@dataclass(slots=True)
class Claim:
    """What a request has taken: `tokens` at the store's `time`. `headers` tell the client where its key stands."""

    time: float | None = None
    tokens: int = 0
    headers: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sent one request."""

    terms: Terms = field(default_factory=Terms)
    claim: Claim = field(default_factory=Claim, compare=False)

    @classmethod
    def of(cls, request: HTTPConnection) -> Caller:
        """As the gate has found out."""
        caller = getattr(request.state, "caller", None)
        return caller if isinstance(caller, cls) else cls()

    @property
    def id(self) -> str:
        """Of the API key; empty where there are no keys."""
        return self.terms.id

    def dump(self) -> dict[str, Any]:
        """As JSON, to be kept with a run."""
        return {"terms": dataclasses.asdict(self.terms), "time": self.claim.time, "tokens": self.claim.tokens}

    @classmethod
    def load(cls, kept: Mapping[str, Any]) -> Caller:
        """What `dump` has made; nothing of it where nothing was kept."""
        return cls(Terms(**kept["terms"]), Claim(kept["time"], kept["tokens"])) if kept else cls()

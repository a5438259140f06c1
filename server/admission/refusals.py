"""Why a request is not admitted, as errors; `headers` go out with the response."""

from __future__ import annotations

import math
from typing import Literal

from decoders.core.errors import InvalidRequest, LongThinkError


class Unauthorized(LongThinkError):
    """No key, or none that is known and valid."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.headers = {"www-authenticate": "Bearer"}


class Forbidden(InvalidRequest):
    """The key is good, but not for this."""

    code = "not_allowed"


class RateLimited(LongThinkError):
    """The key has had its share of `kind`; in `seconds` there is more. `limit` is the name of what was in the way."""

    def __init__(self, message: str, kind: Literal["requests", "tokens"], seconds: float, limit: str) -> None:
        super().__init__(message)
        self.limit = limit
        self.kind = kind
        self.headers = {"retry-after": str(max(math.ceil(seconds), 1))}

"""Where a request shows its key. Rule: the key ends here. What lies behind sees whose it is, and never the key itself.

Pure ASGI, as the envelope around it. /health, /ready, /version, /metrics, the pages and the documentation are open;
/metrics says nothing about keys.
"""

from __future__ import annotations

from contextlib import suppress

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.admission.caller import Caller
from server.admission.keys import Keys
from server.admission.limits import Limits
from server.admission.refusals import Unauthorized
from server.api import errors
from server.context import origin
from server.metrics import AdmissionMetrics
from server.store.base import StoreUnavailable

_GUARDED = ("/v1", "/tokenize", "/detokenize")
_OPERATORS = "/admin/"
"""Has a key of its own."""
_CREDENTIALS = (b"authorization", b"x-api-key")


class Gate:
    """Puts the `Caller` into the request's state and its limits into the response's headers; no `keys`, no gate."""

    def __init__(self, app: ASGIApp, *, keys: Keys | None, limits: Limits, metrics: AdmissionMetrics) -> None:
        self._app, self._keys, self._limits, self._metrics = app, keys, limits, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, as ASGI runs it."""
        if scope["type"] != "http" or scope["path"].startswith(_OPERATORS):
            await self._app(scope, receive, send)
            return
        given = [header for header in scope["headers"] if header[0] in _CREDENTIALS]
        scope["headers"] = [header for header in scope["headers"] if header[0] not in _CREDENTIALS]
        if self._keys is None or not scope["path"].startswith(_GUARDED):
            await self._app(scope, receive, send)
            return
        try:
            caller = Caller(self._keys.find(_key(given)))
        except Unauthorized as error:
            self._metrics.rejected("unauthorized")
            await errors.respond(error, scope["path"], error.headers)(scope, receive, send)
            return
        scope.setdefault("state", {})["caller"] = caller
        origin().key = caller.id

        async def stamped(message: Message) -> None:
            if message["type"] == "http.response.start" and caller.terms.counted:
                message["headers"] = [*message.get("headers", ()), *await self._standing(caller)]
            await send(message)

        await self._app(scope, receive, stamped)

    async def _standing(self, caller: Caller) -> list[tuple[bytes, bytes]]:
        with suppress(StoreUnavailable):  # an answer without these headers is better than none
            told = await self._limits.headers(caller)
            return [(name.encode(), value.encode()) for name, value in told.items()]
        return []


def _key(given: list[tuple[bytes, bytes]]) -> str:
    """The key as OpenAI's clients send it, or as Anthropic's do. Raises `Unauthorized` where there is neither."""
    headers = {name: value.decode("latin-1").strip() for name, value in reversed(given)}
    scheme, _, token = headers.get(b"authorization", "").partition(" ")
    key = token.strip() if scheme.lower() == "bearer" else headers.get(b"x-api-key", "")
    if not key:
        raise Unauthorized("an API key is needed: send it as Authorization: Bearer KEY, or as x-api-key")
    return key

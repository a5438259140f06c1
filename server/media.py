"""Which images and other media a request may show. Rule: this server fetches none; it decides what engines may.

`data:` URLs pass, URLs of the operator's hosts pass, and anything else that an engine could take for a place to read
from is refused, whichever field it stands in and whichever dialect it came by.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

from decoders.core.errors import InvalidRequest
from decoders.core.messages import Message
from server.outbound import Hosts, place

_PLACE = re.compile(r"\s*(?:[A-Za-z][A-Za-z0-9+.-]*:|//)")
_PLAIN = ("data", "detail", "filename", "format", "type")
"""Fields that are no place to read from: base64, or a word."""


class Media:
    """The operator's rules for what stands in messages beside text."""

    def __init__(self, hosts: Iterable[str]) -> None:
        self._hosts = Hosts(hosts)

    def check(self, messages: Iterable[Message], param: str = "messages") -> None:
        """Raises `InvalidRequest` for a place that an engine must not read from."""
        for message in messages:
            for attachment in message.attachments:
                for name, text in _texts(json.loads(attachment.part)):
                    if not self._harmless(name, text):
                        said = "media are data: URLs, or URLs of hosts that this server's operator allows"
                        raise InvalidRequest(f"{param}: {said}", param=param, code="url_not_allowed")

    def _harmless(self, name: str, text: str) -> bool:
        if name in _PLAIN or text.startswith("data:"):
            return True
        where = place(text)
        if where is not None:
            return self._hosts.any or where in self._hosts
        return not (_PLACE.match(text) or "url" in name.lower())


def _texts(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Every string in a part, with the field that it stands in."""
    if isinstance(value, str):
        yield name, value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _texts(inner, key)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner, name)

"""The types of `clients/decoders.py` are what the server says."""

from __future__ import annotations

from pathlib import Path

import clients.decoders
from clients import LongThink, schema


def test_the_types_are_what_the_server_says(client: LongThink) -> None:
    written = Path(clients.decoders.__file__).read_text(encoding="utf-8")
    assert schema.render(client.decoders()) == written, "write them anew: python -m clients.schema URL"

"""What environments behind HTTP share. Rule: nobody makes this process hold more than `LARGEST` bytes of a reply."""

from __future__ import annotations

import aiohttp

from decoders.core.errors import EnvironmentFailed

LARGEST = 64 * 1024 * 1024
"""Bytes of one reply or message."""


async def read(response: aiohttp.ClientResponse) -> bytes:
    """The body of a reply."""
    body = bytearray()
    async for part in response.content.iter_any():
        body += part
        if len(body) > LARGEST:
            raise EnvironmentFailed(f"{response.url.host} sent more than {LARGEST} bytes at once")
    return bytes(body)

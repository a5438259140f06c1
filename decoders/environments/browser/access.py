"""Which addresses a page may reach. Rule: what is not allowed by name is refused, and files but for one folder."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable
from ipaddress import ip_address
from os.path import normpath
from pathlib import Path
from urllib.parse import unquote, urlsplit

_INNER = ("data", "blob", "about")


class Folder:
    """Files below one folder, and nothing over the network."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def allows(self, url: str) -> bool:
        """Whether a page may load this."""
        address = urlsplit(url)
        if address.scheme != "file":
            return address.scheme in _INNER
        return self._holds(unquote(address.path))

    def _holds(self, path: str) -> bool:
        return Path(normpath(path)).is_relative_to(self._folder)


class Hosts:
    """Hosts by name, `*.example.org` for all below one; names of private addresses only where that is allowed."""

    def __init__(self, patterns: Iterable[str], *, private: bool) -> None:
        self.patterns = [pattern.lower() for pattern in patterns]
        self._addresses = {pattern for pattern in self.patterns if _is_address(pattern)}
        self._private = private
        self._public: dict[str, bool] = {}

    async def allows(self, url: str) -> bool:
        """Whether a page may load this."""
        address = urlsplit(url)
        if address.scheme not in ("http", "https", "ws", "wss"):
            return address.scheme in _INNER
        host = (address.hostname or "").rstrip(".")
        if not any(_matches(host, pattern) for pattern in self.patterns):
            return False
        return self._private or host in self._addresses or await self._is_public(host)

    async def _is_public(self, host: str) -> bool:
        if host not in self._public:
            try:
                found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
            except OSError:
                return False
            self._public[host] = all(ip_address(str(entry[4][0]).partition("%")[0]).is_global for entry in found)
        return self._public[host]


def _matches(host: str, pattern: str) -> bool:
    return host.endswith(pattern[1:]) if pattern.startswith("*.") else host == pattern


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True

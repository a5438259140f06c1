"""Calls to URLs that a request gave, where they are allowed. Rule: what was checked is what is connected to.

An exact list of hosts decides, never the look of an address. A name is resolved once for each connection, its addresses
are judged, and one of them is connected to: a name that leads elsewhere a moment later has no effect. Redirects are not
followed and proxies of the environment not used.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any

import httpx

from decoders.core.errors import InvalidRequest, LongThinkError

_URL = re.compile(r"(https?)://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::([0-9]{1,5}))?(?:[/?][!-~]*)?", re.IGNORECASE)
_STRANGE = set('\\"<>^`{|}')
_PORTS = {"http": 80, "https": 443}
_EMBEDDING = [ipaddress.IPv6Network(net) for net in ("64:ff9b::/96", "64:ff9b:1::/48", "::/96")]
"""IPv6 networks whose addresses end in the IPv4 address that they lead to."""
_ANY = "*"

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve = Callable[[str, int], Awaitable[list[str]]]
"""From a host and a port to addresses."""


class Forbidden(LongThinkError):
    """The host of a URL leads to where requests must not send this server."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a URL leads."""

    scheme: str
    host: str
    port: int


def place(url: str) -> Place | None:
    """Where an http(s) URL leads; None for whatever two readers could understand differently.

    No user, no backslash, blank or control character, nothing but ASCII, and an authority in its simplest form.
    """
    found = _URL.fullmatch(url)
    if found is None or _STRANGE & set(url):
        return None
    scheme, host = found[1].lower(), found[2].lower().strip("[]")
    port = int(found[3]) if found[3] else _PORTS[scheme]
    return Place(scheme, host, port) if 0 < port < 65536 else None


class Hosts:
    """The operator's list: `host` for the usual ports of http and https, or `host:port`."""

    def __init__(self, entries: Iterable[str]) -> None:
        self._known: set[tuple[str, int]] = set()
        self.any = False
        for entry in entries:
            if entry == _ANY:
                self.any = True
                continue
            found = place(f"http://{entry}")
            if found is None or "/" in entry or "?" in entry:
                raise ValueError(f"{entry!r} is not a host or host:port")
            named = entry.rpartition(":")[2].isdecimal() and not entry.endswith("]")
            self._known |= {(found.host, port) for port in ([found.port] if named else _PORTS.values())}

    def __contains__(self, where: Place) -> bool:
        return (where.host, where.port) in self._known


class OutboundRules:
    """What a request may make this server call: the hosts on the list, and with `*` among them any public one.

    A listed name may lead into the operator's own network, though never to a link-local address, where clouds keep
    their credentials; what `*` lets through may only lead to public addresses.
    """

    def __init__(self, hosts: Iterable[str], resolve: Resolve | None = None) -> None:
        self._hosts = Hosts(hosts)
        self._resolve = resolve or _resolve

    def allowed(self, url: str) -> bool:
        """Whether the URL may be called, as far as can be told without resolving its host."""
        where = place(url)
        return where is not None and (where in self._hosts or self._hosts.any)

    def check(self, url: str, param: str) -> None:
        """Raises `InvalidRequest` naming the field whose URL may not be called."""
        if not self.allowed(url):
            raise InvalidRequest(f"{param}: this server may not call this URL", param=param, code="url_not_allowed")

    async def pin(self, url: str) -> tuple[Place, str]:
        """Where the URL leads, and the address to connect to. Raises `Forbidden`."""
        where = place(url)
        listed = where is not None and where in self._hosts
        if where is None or not (listed or self._hosts.any):
            raise Forbidden("this server may not call this URL")
        try:
            addresses = await self._resolve(where.host, where.port)
        except OSError as error:
            raise Forbidden(f"the host {where.host} cannot be resolved") from error
        # one bad address condemns the name: a client may try them all
        if not addresses or not all(_fit(address, listed=listed) for address in addresses):
            raise Forbidden(f"the host {where.host} leads to an address that this server may not call")
        return where, addresses[0]

    def client(self, *, verify: ssl.SSLContext | bool = True, **options: Any) -> httpx.AsyncClient:
        """A client that can call nothing else; `options` are httpx's."""
        transport = _Pinned(self, verify)
        return httpx.AsyncClient(transport=transport, follow_redirects=False, trust_env=False, **options)


class _Pinned(httpx.AsyncBaseTransport):
    """Connects to the address that was judged; the name stays in the Host header and in TLS."""

    def __init__(self, rules: OutboundRules, verify: ssl.SSLContext | bool) -> None:
        self._rules = rules
        # a kept connection would be found by its address, whatever name it was opened for
        limits = httpx.Limits(max_keepalive_connections=0)
        self._inner = httpx.AsyncHTTPTransport(verify=verify, trust_env=False, limits=limits)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        where, address = await self._rules.pin(str(request.url))
        request.extensions = {**request.extensions, "sni_hostname": where.host}
        request.url = request.url.copy_with(host=address)
        return await self._inner.handle_async_request(request)

    async def aclose(self) -> None:
        await self._inner.aclose()


async def _resolve(host: str, port: int) -> list[str]:
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def _fit(text: str, *, listed: bool) -> bool:
    """Whether an address may be called, for a host that is on the list or one that is not."""
    address = _innermost(ipaddress.ip_address(text.partition("%")[0]))
    if address.is_link_local or address.is_multicast or address.is_unspecified:
        return False
    return listed or (address.is_global and not address.is_reserved)


def _innermost(address: Address) -> Address:
    """The IPv4 address that an IPv6 address stands for, where it stands for one."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    inner = address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
    if inner is None and int(address) > 1 and any(address in network for network in _EMBEDDING):
        inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return inner or address

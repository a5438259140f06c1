"""Whom this server calls because a request says so, and where what it calls may lead to."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from decoders.core.errors import InvalidRequest
from server.outbound import Forbidden, Hosts, OutboundRules, Place, Resolve, place

AMBIGUOUS = [
    "",
    "hooks.example",
    "//hooks.example/",
    "ftp://hooks.example/",
    "file:///etc/passwd",
    "gopher://hooks.example/",
    "javascript:alert(1)",
    "http:/hooks.example/",
    "http:///hooks.example/",
    "http://",
    "http://:80/",
    "http://user@hooks.example/",
    "http://user:password@hooks.example/",
    "http://evil.example#@hooks.example/",
    "http://hooks.example\\@evil.example/",
    "http://hooks.example\\.evil.example/",
    "http://hooks.example/\r\nhost: evil.example",
    "http://hooks.example\n.evil.example/",
    "http://hooks.example\t/",
    " http://hooks.example/",
    "http://hooks.example /",
    "http://hooks.example/ a",
    "http://hooks%2eexample/",
    "http://hooks。example/",
    "http://ＨＯＯＫＳ.example/",
    "http://hooks.example:0/",
    "http://hooks.example:99999/",
    "http://hooks.example:80:80/",
    "http://hooks.example:/",
    "http://hooks.example:80a/",
    "http://[::1/",
    "http://[fe80::1%25eth0]/",
    "http://hooks.example/#fragment\x00",
]


@pytest.mark.parametrize("url", AMBIGUOUS, ids=repr)
def test_urls_that_two_readers_could_read_in_two_ways_lead_nowhere(url: str) -> None:
    assert place(url) is None
    assert not OutboundRules(["hooks.example", "*"]).allowed(url)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://hooks.example", Place("http", "hooks.example", 80)),
        ("HTTPS://Hooks.Example/a/b?c=d&e=%20", Place("https", "hooks.example", 443)),
        ("https://hooks.example:8443/@me", Place("https", "hooks.example", 8443)),
        ("http://[::1]:80/", Place("http", "::1", 80)),
        ("http://10.0.0.1/", Place("http", "10.0.0.1", 80)),
    ],
)
def test_plain_urls_lead_where_they_say(url: str, expected: Place) -> None:
    assert place(url) == expected


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("http://a.example/", True),
        ("https://a.example/x", True),
        ("https://A.EXAMPLE/x", True),
        ("https://a.example:8443/", False),
        ("https://b.example:8443/", True),
        ("https://b.example/", False),
        ("https://sub.a.example/", False),
        ("https://a.example.evil.example/", False),
        ("https://xa.example/", False),
        ("https://a.example./", False),
    ],
)
def test_a_list_is_exact(url: str, allowed: bool) -> None:
    rules = OutboundRules(["a.example", "b.example:8443"])
    assert rules.allowed(url) is allowed
    if not allowed:
        with pytest.raises(InvalidRequest) as refused:
            rules.check(url, "webhook")
        assert (refused.value.param, refused.value.code) == ("webhook", "url_not_allowed")


def test_nothing_may_be_called_without_a_list() -> None:
    assert not OutboundRules([]).allowed("https://a.example/")


@pytest.mark.parametrize("entry", ["", "http://a.example", "a.example/path", "a b", "user@a.example", "*.example"])
def test_wrong_entries_are_told(entry: str) -> None:
    with pytest.raises(ValueError, match="is not a host"):
        Hosts([entry])


def names(table: dict[str, Sequence[str]]) -> Resolve:
    async def resolve(host: str, port: int) -> list[str]:
        if host not in table:
            raise OSError("unknown")
        return list(table[host])

    return resolve


PUBLIC = ["93.184.216.34", "2606:4700::1111"]
NEVER = [
    "169.254.169.254",
    "fe80::1",
    "fe80::1%eth0",
    "224.0.0.1",
    "ff02::1",
    "0.0.0.0",
    "::",
    "::ffff:169.254.169.254",
    "64:ff9b::a9fe:a9fe",
    "2002:a9fe:a9fe::1",
]
PRIVATE = [
    "127.0.0.1",
    "127.8.8.8",
    "::1",
    "10.1.2.3",
    "172.16.0.1",
    "192.168.1.1",
    "100.64.0.1",
    "fc00::1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "64:ff9b::7f00:1",
    "2002:7f00:1::",
    "::127.0.0.1",
    "198.18.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "192.0.2.1",
    "2001:db8::1",
]


@pytest.mark.parametrize(
    ("hosts", "address", "fit"),
    [
        *[("*", address, True) for address in PUBLIC],
        *[("*", address, False) for address in PRIVATE + NEVER],
        *[("a.example", address, True) for address in PUBLIC + PRIVATE],
        *[("a.example", address, False) for address in NEVER],
    ],
)
def test_where_a_name_may_lead(hosts: str, address: str, fit: bool) -> None:
    rules = OutboundRules([hosts], names({"a.example": [address]}))
    if fit:
        assert asyncio.run(rules.pin("http://a.example/"))[1] == address
    else:
        with pytest.raises(Forbidden):
            asyncio.run(rules.pin("http://a.example/"))


def test_one_bad_address_condemns_a_name() -> None:
    for addresses in ([*PUBLIC, "127.0.0.1"], ["127.0.0.1", *PUBLIC], []):
        with pytest.raises(Forbidden):
            asyncio.run(OutboundRules(["*"], names({"a.example": addresses})).pin("http://a.example/"))


@pytest.mark.parametrize(
    "host", ["2130706433", "0x7f000001", "0177.0.0.1", "127.1", "0", "localhost", "[::ffff:7f00:1]"]
)
def test_other_spellings_of_this_machine_are_found_out(host: str) -> None:
    """With the system's own resolver, which understands them."""
    with pytest.raises(Forbidden):
        asyncio.run(OutboundRules(["*"]).pin(f"http://{host}/"))


@asynccontextmanager
async def answering(
    head: bytes = b"HTTP/1.1 200 OK", secure: ssl.SSLContext | None = None
) -> AsyncGenerator[tuple[int, list[bytes]], None]:
    """A server on this machine, and the requests it got."""
    heard: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(head + b"\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=secure)
    async with server:
        yield server.sockets[0].getsockname()[1], heard


def test_the_client_connects_to_the_address_that_was_judged() -> None:
    """The name leads to this machine once and, as in DNS rebinding, elsewhere from then on."""

    async def call() -> None:
        async with answering() as (port, heard):
            answers = iter([["127.0.0.1"], ["169.254.169.254"]])

            async def rebinding(host: str, port: int) -> list[str]:
                return next(answers)

            async with OutboundRules([f"a.example:{port}"], rebinding).client() as client:
                response = await client.get(f"http://a.example:{port}/x")
                assert response.text == "ok"
                with pytest.raises(Forbidden):
                    await client.get(f"http://a.example:{port}/x")
            assert len(heard) == 1
            assert f"host: a.example:{port}" in heard[0].decode().lower()

    asyncio.run(call())


def test_redirects_are_not_followed_and_proxies_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")

    async def call() -> None:
        async with answering(b"HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/") as (port, heard):
            async with OutboundRules([f"a.example:{port}"], names({"a.example": ["127.0.0.1"]})).client() as client:
                assert (await client.get(f"http://a.example:{port}/")).status_code == 302
                with pytest.raises(Forbidden):
                    await client.get(f"http://a.example:{port}/", follow_redirects=True)
            assert len(heard) == 2

    asyncio.run(call())


def test_what_is_not_allowed_is_not_even_resolved() -> None:
    async def never(host: str, port: int) -> list[str]:
        raise AssertionError("resolved")

    async def call() -> None:
        async with OutboundRules(["a.example"], never).client() as client:
            with pytest.raises(Forbidden):
                await client.get("http://b.example/")

    asyncio.run(call())


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], tuple[ssl.SSLContext, Path]]:
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=a.example"]
    command += ["-addext", "subjectAltName=DNS:a.example", "-keyout", str(key), "-out", str(cert)]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=30)
    except OSError:
        pytest.skip("there is no openssl: install it with the system's package manager")

    def context() -> tuple[ssl.SSLContext, Path]:
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        made.load_cert_chain(cert, key)
        return made, cert

    return context


def test_a_certificate_is_checked_against_the_name(certificate: Callable[[], tuple[ssl.SSLContext, Path]]) -> None:
    async def call() -> None:
        secure, cert = certificate()
        trust = ssl.create_default_context(cafile=str(cert))
        table = names({"a.example": ["127.0.0.1"], "b.example": ["127.0.0.1"]})
        async with answering(secure=secure) as (port, _):
            rules = OutboundRules([f"a.example:{port}", f"b.example:{port}"], table)
            async with rules.client(verify=trust) as client:
                assert (await client.get(f"https://a.example:{port}/")).text == "ok"
                with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
                    await client.get(f"https://b.example:{port}/")

    asyncio.run(call())

"""Heads and bodies beyond the limits, or that can be read in two ways, are refused, and the server lives."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from tests.security.conftest import error, guarded, open_to, reply, send, status
from tests.server.conftest import HELLO, Live

POST = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
ASK = json.dumps({"model": "base", "messages": HELLO}).encode()
CLOSE = b"connection: close\r\n"


@pytest.fixture(autouse=True)
def alive(guard: Live) -> Iterator[None]:
    yield
    assert guard.ask().status_code == 200


@pytest.mark.parametrize(
    ("head", "expected", "code"),
    [
        (b"GET /health HTTP/1.1\r\nx-a: " + b"a" * 100_000 + b"\r\n\r\n", 431, "headers_too_large"),
        (b"GET /health HTTP/1.1\r\n" + b"x-a: b\r\n" * 1000 + b"\r\n", 431, "headers_too_large"),
        (b"GET /health HTTP/1.1\r\n" + b"x" * 100_000, 431, "headers_too_large"),
        (b"GET /health HTTP/1.1\r\nx-a: " + b"a" * 20_000_000, 431, "headers_too_large"),
        (b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n\r\n", 414, "url_too_long"),
        (b"GET /health?" + b"a=b&" * 20_000 + b" HTTP/1.1\r\n\r\n", 414, "url_too_long"),
        (b"GET /" + b"a" * 20_000_000, 414, "url_too_long"),
    ],
    ids=["100 kB", "1000 headers", "long name", "20 MB", "long URL", "long query", "endless URL"],
)
def test_large_heads(guard: Live, head: bytes, expected: int, code: str) -> None:
    said = send(guard, head)
    assert (status(said), error(said)["code"]) == (expected, code)


def test_heads_within_the_limits_pass(guard: Live) -> None:
    head = b"GET /health?" + b"a" * 8000 + b" HTTP/1.1\r\n" + b"x-a: " + b"a" * 40_000 + b"\r\n" + b"x-b: c\r\n" * 90
    assert status(send(guard, head + CLOSE + b"\r\n")) == 200


def chunked(*pieces: bytes, extension: bytes = b"") -> bytes:
    return b"".join(b"%x%b\r\n%b\r\n" % (len(piece), extension, piece) for piece in pieces)


@pytest.mark.parametrize(
    ("request_bytes", "expected"),
    [
        (POST + CLOSE + b"content-length: 10000000\r\n\r\n" + b"x" * 10_000_000, 413),
        (POST + b"content-length: 99999999999999999999999999\r\n\r\n", 400),
        (POST + b"content-length: 18446744073709551615\r\n\r\n", 408),
        (POST + b"content-length: -1\r\n\r\n", 400),
        (POST + b"content-length: +5\r\n\r\nhello", 400),
        (POST + b"content-length: 0x5\r\n\r\nhello", 400),
        (POST + b"content-length: five\r\n\r\n", 400),
        (POST + CLOSE + b"transfer-encoding: chunked\r\n\r\n" + chunked(*[b"x" * 60_000] * 60) + b"0\r\n\r\n", 413),
        (POST + b"transfer-encoding: chunked\r\n\r\nfffffffffffffffff\r\nx", 400),
        (POST + b"transfer-encoding: chunked\r\n\r\n-1\r\nx", 400),
        (POST + b"transfer-encoding: chunked\r\n\r\nzz\r\nx", 400),
        (POST + b"transfer-encoding: chunked\r\n\r\n" + chunked(b"xy", extension=b";a=" + b"b" * 500_000), 431),
        (POST + b"transfer-encoding: chunked\r\n\r\n0\r\n" + b"x-a: b\r\n" * 100_000 + b"\r\n", 431),
        (POST + b"transfer-encoding: chunked\r\n\r\n0\r\nx-a: " + b"b" * 10_000_000, 431),
    ],
    ids=[
        "10 MB",
        "length of 26 digits",
        "length of 2**64",
        "negative length",
        "signed length",
        "hexadecimal length",
        "length in words",
        "3.6 MB in chunks",
        "chunk of 2**68",
        "negative chunk",
        "no chunk size",
        "chunk extension",
        "100,000 trailers",
        "endless trailer",
    ],
)
def test_bodies_whose_size_is_wrong(guard: Live, request_bytes: bytes, expected: int) -> None:
    assert status(send(guard, request_bytes)) == expected


def test_a_body_in_many_small_chunks_passes(guard: Live) -> None:
    pieces = [ASK[i : i + 1] for i in range(len(ASK))] + [b" "] * 20_000
    body = POST + CLOSE + b"transfer-encoding: chunked\r\n\r\n" + chunked(*pieces) + b"0\r\nx-late: yes\r\n\r\n"
    assert status(send(guard, body)) == 200


@pytest.mark.parametrize(
    "head",
    [
        POST + b"content-length: 4\r\ntransfer-encoding: chunked\r\n\r\n",
        POST + b"transfer-encoding: chunked\r\ncontent-length: 4\r\n\r\n",
        POST + b"content-length: 4\r\ncontent-length: 5\r\n\r\n",
        POST + b"transfer-encoding: chunked, identity\r\n\r\n",
        POST + b"transfer-encoding: xchunked\r\n\r\n",
        POST + b"transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n\r\n",
        POST + b"transfer-encoding : chunked\r\n\r\n",
        POST + b"transfer-encoding:\x0bchunked\r\n\r\n",
        POST + b"x-a: b\r\n continued: c\r\ncontent-length: 4\r\n\r\n",
        POST + b"x-a: b\x00c\r\n\r\n",
        POST + b"x-a: b\rc: d\r\n\r\n",
        POST.replace(b"\r\n", b"\n") + b"content-length: 4\n\n",
        POST + b"x-a: b\nx-c: d\r\n\r\n",
        b"POST /v1/chat/completions HTTP/9.9\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"CONNECT example.com:443 HTTP/1.1\r\nhost: example.com\r\n\r\n",
        b"GET http://example.com:99999/ HTTP/1.1\r\n\r\n",
    ],
    ids=repr,
)
def test_what_two_readers_could_read_in_two_ways_is_refused(guard: Live, head: bytes) -> None:
    """A second request hides in the body: it must not be answered."""
    said = send(guard, head + b"0\r\n\r\nGET /version HTTP/1.1\r\nhost: x\r\n\r\n")
    assert status(said) == 400, said
    assert said.count(b"HTTP/1.1 ") == 1
    assert b'"version"' not in said


@pytest.mark.parametrize(
    "head", [b"GET  /health HTTP/1.1\r\n\r\n", b"GET /health\r\n\r\n"], ids=["two blanks", "HTTP/0.9"]
)
def test_what_follows_a_tolerated_request_is_not_answered_after_it(guard: Live, head: bytes) -> None:
    said = send(guard, head + b"0\r\n\r\nGET /version HTTP/1.1\r\nhost: x\r\n\r\n")
    assert said.count(b"HTTP/1.1 ") <= 1
    assert b'"version"' not in said


@pytest.mark.parametrize("method", ["TRACE", "PUT", "PATCH", "PROPFIND", "OPTIONS"])
def test_other_methods(guard: Live, method: str) -> None:
    head = f"{method} /v1/chat/completions HTTP/1.1\r\nhost: x\r\nx-secret: s3cret\r\nconnection: close\r\n\r\n"
    said = send(guard, head.encode())
    assert status(said) == 405
    assert b"s3cret" not in said


def test_an_upgrade_is_not_followed(guard: Live) -> None:
    head = (
        b"GET /health HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n"
    )
    with open_to(guard) as connection:
        connection.sendall(head + b"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
        assert status(connection.recv(65536)) == 200


def test_no_other_site_may_read(guard: Live) -> None:
    asked = {"origin": "https://evil.example", "access-control-request-method": "POST"}
    for response in (
        httpx.options(f"{guard.url}/v1/chat/completions", headers=asked),
        httpx.get(f"{guard.url}/v1/models", headers=asked),
        guard.post({"model": "base", "messages": HELLO}, **asked),
        guard.post({}, **asked),
    ):
        assert not [name for name in response.headers if name.startswith("access-control")]
        assert "server" not in response.headers


@pytest.mark.parametrize(
    "body",
    [
        gzip.compress(ASK),
        b"\x00" * 1000,
        ASK[:-1] + b"\x00}",
        b"\xef\xbb\xbf" + ASK,
        ASK.decode().encode("utf-16"),
        b"[" * 500_000 + b"]" * 500_000,
        b'{"model": "base", "messages": [], "seed": ' + b"9" * 1_000_000 + b"}",
        b'{"model": "base", "messages": [], "temperature": 1e999999}',
        b'{"model": "base", "messages": [], "temperature": 1e-' + b"9" * 100_000 + b"}",
        b'{"model": "base", "messages": [{"role": "user", "content": "\xc0\xaf"}]}',
        b'{"model": "base", "messages": [{"role": "user", "content": "\xed\xa0\x80"}]}',
    ],
    ids=["gzip", "NULs", "NUL", "BOM", "UTF-16", "deep", "1 MB number", "1e999999", "1e-9…9", "overlong", "surrogate"],
)
def test_bodies_that_are_no_json(guard: Live, body: bytes) -> None:
    response = guard.post(body, **{"content-encoding": "gzip"} if body[:2] == b"\x1f\x8b" else {})
    assert response.status_code in (400, 415), response.text
    assert len(response.content) < 2000


def test_the_last_of_two_equal_keys_counts_and_nothing_else_sees_the_first(guard: Live) -> None:
    twice = ASK[:-1] + b', "model": "nobody"}'
    assert guard.post(twice).status_code == 404
    assert guard.post(b'{"model": "nobody", ' + ASK[1:]).status_code == 200


def test_a_nul_in_text_is_text(guard: Live) -> None:
    answer = guard.ask(messages=[{"role": "user", "content": "a\x00b"}])
    assert "a\x00b" in answer.json()["choices"][0]["message"]["content"]


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_refused_bodies_take_no_memory() -> None:
    with guarded(body_seconds=10) as running:
        before = resident()
        for _ in range(3):
            with open_to(running) as connection:
                connection.sendall(POST + CLOSE + b"transfer-encoding: chunked\r\n\r\n")
                piece = chunked(b"x" * 1_000_000)
                with suppress(ConnectionError):
                    for _ in range(60):
                        connection.sendall(piece)
                    connection.sendall(b"0\r\n\r\n")
                assert status(reply(connection)) == 413
        assert resident() - before < 30_000_000

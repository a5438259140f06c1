"""Clients that keep a connection without getting anywhere are cut, and others are served meanwhile."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from itertools import repeat

import pytest

from server.engines.scripted import ScriptedEngine
from tests.security.conftest import error, guarded, one, open_to, reply, status
from tests.server.conftest import Live, until
from tests.server.test_command import command

HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"

SECOND = b"GET /health HTTP/1.1\r\nx-a: " + b"y" * 10_000


def trickle(connection: socket.socket, data: Iterator[bytes]) -> bytes:
    """Send byte after byte until the server has had enough; what it says then."""
    connection.settimeout(0.02)
    for byte in data:
        with suppress(TimeoutError):
            if said := connection.recv(65536):
                connection.settimeout(5)
                return said + reply(connection)
            return b""
        connection.sendall(byte)
    raise AssertionError("the server took all of it")


@pytest.mark.parametrize(
    ("before", "what"),
    [(b"GET /", "head"), (HEAD + b"x-a: ", "head"), (HEAD + b"content-length: 1000000\r\n\r\n", "body")],
    ids=["request line", "header", "body"],
)
def test_a_request_that_arrives_byte_by_byte_is_cut(guard: Live, before: bytes, what: str) -> None:
    with open_to(guard) as connection:
        connection.sendall(before)
        said = trickle(connection, repeat(b"a", 10_000))
    assert status(said) == 408
    assert error(said)["code"] == "request_timeout"
    assert f"the request's {what}" in error(said)["message"]
    assert guard.ask().status_code == 200


def test_a_second_request_on_a_connection_has_no_more_time(guard: Live) -> None:
    with open_to(guard) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n")
        assert status(one(connection)) == 200
        assert status(trickle(connection, (bytes([byte]) for byte in SECOND))) == 408


def test_a_body_that_nobody_waits_for_is_not_waited_for_either(guard: Live) -> None:
    """The reply is there before the body, so there is nothing to add to it: the connection just ends."""
    with open_to(guard) as connection:
        connection.sendall(HEAD.replace(b"/chat/completions", b"/nowhere") + b"content-length: 1000000\r\n\r\n")
        assert status(one(connection)) == 404
        assert trickle(connection, repeat(b"a", 10_000)) == b""


def test_a_connection_without_a_request_is_closed(guard: Live) -> None:
    with open_to(guard) as connection:
        connection.settimeout(5)
        assert reply(connection) == b""


def test_others_are_served_while_many_dawdle() -> None:
    with guarded(header_seconds=30, max_connections=40) as running, ExitStack() as stack:
        for _ in range(120):
            connection = stack.enter_context(open_to(running))
            with suppress(ConnectionError):
                connection.sendall(b"GET / HTTP/1.1\r\nx-a: ")
        for _ in range(3):
            assert running.ask().status_code == 200


def test_connections_beyond_the_limit_are_refused_where_none_is_idle() -> None:
    engine = ScriptedEngine([" ".join(["word"] * 500)], model="base", token_delay=0.05)
    with (
        guarded(engine, max_connections=2) as running,
        running.raw(stream=True) as first,
        running.raw(stream=True) as second,
    ):
        assert first.recv(100).startswith(b"HTTP/1.1 200")
        assert second.recv(100).startswith(b"HTTP/1.1 200")
        with open_to(running) as third:
            said = reply(third)
        assert (status(said), error(said)["code"]) == (503, "overloaded")


def test_a_reader_that_does_not_read_is_cut_and_its_engine_call_ends() -> None:
    engine = ScriptedEngine([" ".join(["word" * 50] * 30_000)], model="base")
    with guarded(engine) as running, running.raw(stream=True, max_completion_tokens=30_000) as connection:
        assert until(lambda: engine.open_calls == 1, 5)
        assert until(lambda: engine.open_calls == 0, 20)
        received = reply(connection)
        assert b"[DONE]" not in received
        # what was made for it beyond what the kernel holds is little, though there were megabytes to send
        assert len(received) < 8_000_000
        assert running.metric("longthink:cancelled_total") == 1
        assert running.ask(max_tokens=3).status_code == 200


def test_a_reader_that_reads_slowly_gets_everything() -> None:
    engine = ScriptedEngine([" ".join(["word" * 50] * 8_000)], model="base")
    with guarded(engine) as running, running.raw(stream=True, max_completion_tokens=8_000) as connection:
        received = bytearray()
        while b"[DONE]" not in received[-200:]:
            piece = connection.recv(40_000)
            assert piece, "cut off"
            received += piece
            time.sleep(0.005)
        assert received.count(b"wordword") >= 8_000


def test_an_unread_reply_does_not_keep_a_closed_connection() -> None:
    """More than the kernel takes, from a client that asks for the connection to be closed afterwards."""
    engine = ScriptedEngine([" ".join(["word" * 400] * 8_000)], model="base")
    with guarded(engine, max_connections=2) as running:
        before = len(os.listdir("/proc/self/fd"))
        with running.raw(max_completion_tokens=8_000) as connection:
            assert until(lambda: engine.calls == 1 and engine.open_calls == 0, 20)
            # of the two ends only the client's is left
            assert until(lambda: len(os.listdir("/proc/self/fd")) == before + 1, 10)
            assert len(reply(connection)) < 8_000 * 1600


def test_the_command_keeps_these_limits() -> None:
    with command("--header-seconds", "0.3") as (_, url):
        port = int(url.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
            connection.sendall(b"GET /health HTTP/1.1\r\nx-a: ")
            assert status(reply(connection)) == 408

"""Limits of a key over several replicas: counted together, exactly."""

from __future__ import annotations

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from server.__main__ import main
from tests.contract.stores.support import RedisServer
from tests.server.conftest import HELLO, Live, until
from tests.system.fleet import PATH, Replica

LIMIT = 20


def test_two_replicas_let_exactly_the_limit_pass(
    redis: RedisServer, upstream: Live, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = str(tmp_path / "keys.toml")
    made = ["keys", "create", "--file", keys, "--id", "team", "--requests-per-minute", str(LIMIT)]
    assert main(made) == 0
    headers = {"authorization": f"Bearer {capsys.readouterr().out.strip()}"}
    with ExitStack() as stack:
        replicas = [Replica(upstream.url, redis.url, "--keys", keys) for _ in range(2)]
        stack.callback(lambda: [replica.kill() for replica in replicas])
        urls = [replica.url for replica in replicas]
        assert [httpx.get(f"{url}/v1/models").status_code for url in urls] == [401, 401]
        assert until(lambda: time.time() % 60 < 40, 30)  # all within one window

        def ask(number: int) -> httpx.Response:
            body = {"model": "base", "messages": HELLO, "max_completion_tokens": 50}
            return httpx.post(f"{urls[number % 2]}{PATH}", json=body, headers=headers, timeout=30)

        with ThreadPoolExecutor(16) as pool:
            answers = list(pool.map(ask, range(3 * LIMIT)))
    assert Counter(answer.status_code for answer in answers) == {200: LIMIT, 429: 2 * LIMIT}
    assert all(0 < int(answer.headers["retry-after"]) <= 60 for answer in answers if answer.status_code == 429)

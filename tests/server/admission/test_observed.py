"""What operators see of keys: who asked, by id, and who was turned away, by reason; never a key."""

from __future__ import annotations

import httpx

from tests.server.admission.conftest import KeyFile, guarded
from tests.server.test_logs import logged, records

ADMIN = "an-admin-key-for-tests"


def test_refusals_are_counted_and_the_log_names_the_key(file: KeyFile) -> None:
    key = file.add("team", requests_per_minute=1)
    with guarded(file) as live, logged() as stream:
        assert live.ask().status_code == 401
        body = {"model": "base", "messages": [{"role": "user", "content": "hi"}]}
        sent = [live.post(body, **file.bearer("team")).status_code for _ in range(2)]
        assert sent == [200, 429]
        assert live.metric("longthink:rejected_total", reason="unauthorized") == 1
        assert live.metric("longthink:rejected_total", reason="rate_limit") == 1
        assert live.metric("longthink:rate_limited_total", limit="requests_per_minute") == 1
        assert live.metric("longthink:queue_length") == 0
    lines = [r for r in records(stream) if r["logger"] == "longthink.access" and r["method"] == "POST"]
    assert [(line["status"], line.get("key_id")) for line in lines] == [(401, None), (200, "team"), (429, "team")]
    assert key not in stream.getvalue()


def test_admin_has_a_key_of_its_own(file: KeyFile) -> None:
    file.add("team")
    with guarded(file, admin_key=ADMIN) as live:
        for headers, status in (({"x-api-key": ADMIN}, 200), (file.bearer("team"), 401), ({}, 401)):
            assert httpx.get(f"{live.url}/admin/upstreams", headers=headers).status_code == status
        answer = httpx.get(f"{live.url}/v1/models", headers={"x-api-key": ADMIN})
        assert answer.status_code == 401

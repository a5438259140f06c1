"""The pages in a real browser say word for word what the text says."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from decoders.environments.site import Site, Walk, Walker
from decoders.environments.site.web import SiteServer

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-quic", "--no-first-run"]
BINARIES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="module")
def server() -> Iterator[SiteServer]:
    with SiteServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api", reason="needs Playwright: pip install '.[browser]'")
    binary = os.environ.get("LONGTHINK_CHROMIUM") or next(filter(None, map(shutil.which, BINARIES)), None)
    if binary is None:
        pytest.skip("needs Chromium: apt-get install chromium-headless-shell, or LONGTHINK_CHROMIUM=path")
    with api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=binary, args=FLAGS)
        yield chromium
        chromium.close()


def test_every_page_says_the_same_words_in_a_browser(server: SiteServer, browser: Any) -> None:
    page = browser.new_page()
    for site in (Site(3, "cheapest", 10), Site(2, "find", 10, open_book=True)):
        for number, wanted in enumerate(site.pages):
            page.goto(f"{server.url}/{site.name}/{number}", wait_until="domcontentloaded")
            shown = [" ".join(line.split()) for line in page.locator("main").inner_text().splitlines()]
            assert [line for line in shown if line] == wanted.text.split("\n")
    page.close()


def test_a_walk_in_a_browser_is_the_walk_in_text(server: SiteServer, browser: Any) -> None:
    site = Site(3, "find", 20)
    page, walk, walker = browser.new_page(), Walk(site), Walker(site.goal)
    page.goto(f"{server.url}/{site.name}/0", wait_until="domcontentloaded")
    while walk.reward is None:
        text = "\n".join(line for line in page.locator("main").inner_text().splitlines() if line.strip())
        assert text == walk.text
        word, _, rest = (action := walker.act(text)).partition(" ")
        walk.act(action)
        if word == "back":
            page.go_back(wait_until="domcontentloaded")
            continue
        with page.expect_navigation(wait_until="domcontentloaded"):
            if word == "open":
                page.get_by_role("link", name=rest, exact=True).click()
            else:
                page.fill("input", rest)
                page.click("button")
    assert page.locator("main").inner_text() == "done"
    assert page.locator("main").get_attribute("data-reward") == "1"
    assert walk.reward == 1.0
    page.close()


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("/2-find-7/0", 200, b"<h1>at home</h1>"),
        ("/2-find-7/answer?code=zz", 200, b'data-reward="0"'),
        ("/2-find-7/answer", 200, b'data-reward="0"'),
        ("/2-find-7/999", 404, b"no such page"),
        ("/2-find-7/-1", 404, b"no such page"),
        ("/2-find-7/%00", 404, b"no such page"),
        ("/9-find-7/0", 404, b"no such page"),
        ("/2-find-7", 404, b"no such page"),
        ("/", 404, b"no such page"),
    ],
)
def test_what_is_no_page_is_a_404(server: SiteServer, path: str, status: int, said: bytes) -> None:
    connection = HTTPConnection("127.0.0.1", server.server_port, timeout=10)
    connection.request("GET", path)
    response = connection.getresponse()
    body = response.read()
    connection.close()
    assert (response.status, said in body) == (status, True)


def test_the_command_serves_until_it_is_terminated() -> None:
    root = Path(__file__).parents[3]
    command = [sys.executable, "-m", "decoders.environments.site", "--port", "0"]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        connection = HTTPConnection(url.split("/")[2], timeout=10)
        connection.request("GET", "/3-find-1/0")
        assert connection.getresponse().status == 200
        connection.close()
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == 0

"""Pages in a real browser: what is shown, what can be done, what is kept out, and that nothing is left behind."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from decoders.core.errors import EnvironmentFailed
from decoders.environments.base import Environment, Observation
from decoders.environments.catalogue import Catalogue
from decoders.environments.options import BrowserOptions
from tests.environments.support import Family, opened, run, until

pytestmark = pytest.mark.usefixtures("chromium")

HOME = """<!doctype html><title>Shop</title><h1>Welcome</h1><p>Some words.</p>
<a href="/two">next page</a> <a href="/two" target="_blank">new window</a>
<button onclick="window.open('/two')">script window</button>
<button onclick="alert('hello there')">alert</button> <a href="/file">download</a>
<a href="/leave">redirect</a> <a href="http://localhost:PORT/secret">elsewhere</a> <a href="file:///etc/passwd">local</a>
<a href="/slow">slow</a> <button onclick="while (true) {}">hang</button>
<label>Name <input id="n" onkeyup="document.title = this.value"></label>
<label>Colour <select><option>red<option value="b">blue</select></label>
<button onclick="ask(this)">ask</button><script>
const ask = async (button) => {
  button.textContent = await fetch("http://localhost:PORT/secret").then(r => r.text(), () => "kept out");
}</script><button onclick="document.getElementById('n').remove()">remove</button>
<div style="display:none">hidden words</div><div style="height:3000px"></div><button>far down</button>"""
PAGES = {"/": HOME, "/two": "<title>Two</title><main data-reward='0.5'>second</main>", "/secret": "the secret"}


class Site:
    """What was asked for, and a page for it."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.port = 0

    async def handle(self, request: web.Request) -> web.Response:
        self.asked.append(f"{request.host.partition(':')[0]}{request.path}")
        if request.path == "/leave":
            raise web.HTTPFound(f"http://localhost:{self.port}/secret")
        if request.path == "/file":
            return web.Response(body=b"x", headers={"Content-Disposition": "attachment; filename=x.bin"})
        if request.path == "/slow":
            await asyncio.sleep(0.4)
        if request.path == "/huge":
            return web.Response(text=f"<p>{'word ' * 1000}</p>" * 2000, content_type="text/html")
        page = PAGES.get(request.path, "<title>Late</title>it came").replace("PORT", str(self.port))
        headers = {"Access-Control-Allow-Origin": "*"}
        return web.Response(text=page, content_type="text/html", headers=headers)


@asynccontextmanager
async def site() -> AsyncGenerator[Site, None]:
    pages = Site()
    app = web.Application()
    app.router.add_get("/{path:.*}", pages.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    pages.port = runner.addresses[0][1]
    try:
        yield pages
    finally:
        await runner.cleanup()


def options(pages: Site, path: str = "/", **fields: Any) -> BrowserOptions:
    start = [f"http://127.0.0.1:{pages.port}{path}"]
    return BrowserOptions.model_validate({"kind": "browser", "start": start, "action_seconds": 2, **fields})


@asynccontextmanager
async def visiting(path: str = "/", **fields: Any) -> AsyncGenerator[tuple[Site, Environment, Observation], None]:
    async with site() as pages, opened(options(pages, path, **fields)) as episode:
        yield pages, episode, await episode.start()


def number(seen: Observation, words: str) -> str:
    line = next(line for line in seen.text.splitlines() if words in line and line.startswith("["))
    return line[1 : line.index("]")]


def test_what_is_shown() -> None:
    async def main() -> None:
        async with visiting(goal="look around") as (pages, _, begun):
            assert begun.goal.startswith("look around\nActions, one at a time: click N, ")
            assert begun.text.startswith(
                f"page 'Shop' http://127.0.0.1:{pages.port}/\nheading \"Welcome\"\nSome words."
            )
            assert 'textbox "Name"' in begun.text
            assert 'combobox "Colour' in begun.text
            assert 'options "red" (selected), "blue"' in begun.text
            assert "hidden words" not in begun.text

    run(main())


def test_what_can_be_done() -> None:
    async def main() -> None:
        async with visiting(reward_attribute="data-reward") as (_, episode, begun):
            typed = await episode.step(f"type {number(begun, 'textbox')} blue sky")
            assert typed.text.startswith("page 'blue sky'")
            assert 'value "blue sky" focused' in typed.text
            assert '"blue" (selected)' in (await episode.step(f"select [{number(begun, 'combobox')}] blue")).text
            assert "lines above" in (await episode.step("scroll down")).text
            assert "lines above" not in (await episode.step("scroll up")).text
            slow = await episode.step(f"click {number(begun, 'slow')}")
            assert slow.text.startswith("page 'Late'")
            assert (await episode.step("back")).text.startswith("page 'Shop'")
            seen = await episode.step("goto /")
            assert seen.error
            last = await episode.step(f"click {number(seen, 'next page')}")
            assert (last.reward, last.done) == (0.5, True)

    run(main())


@pytest.mark.parametrize(
    ("action", "told"),
    [
        ("click 99", "there is no element 99"),
        ("click it", "needs the number"),
        ("dance", "the actions are click N, type N TEXT"),
        ("press Nothing", "Unknown key"),
        ("press a;b", "name of a key"),
        ("back", "nothing to go back to"),
        ("select 1 red", "no list of options"),
        ("type 1 words", "not an <input>"),
        ("goto file:///etc/passwd", "not allowed"),
        ("goto http://localhost/", "not allowed"),
        ("goto http://169.254.169.254/", "not allowed"),
        ("answer", "answer needs a text"),
    ],
)
def test_what_cannot_be_done_says_why(action: str, told: str) -> None:
    async def main() -> None:
        async with visiting() as (_, episode, _begun):
            seen = await episode.step(action)
            assert seen.error
            assert told in seen.text
            assert "Welcome" in seen.text or action == "back"

    run(main())


def test_an_answer_ends_the_episode() -> None:
    async def main() -> None:
        async with visiting() as (_, episode, _begun):
            assert episode.answer("answer: it costs 3 ") == "it costs 3"
            assert episode.answer("click 1") is None
            assert (await episode.step("answer it costs 3")).done

    run(main())


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("new window", "page 'Two'"),
        ("script window", "page 'Two'"),
        ("alert", "(a dialog said 'hello there' and was dismissed)"),
        ("download", "(a download was refused)"),
    ],
)
def test_windows_dialogs_and_downloads_do_not_hold_it_up(words: str, told: str) -> None:
    async def main() -> None:
        async with visiting() as (_, episode, begun):
            assert told in (await episode.step(f"click {number(begun, words)}")).text

    run(main())


@pytest.mark.parametrize("words", ["elsewhere", "redirect", "local", "ask"])
def test_other_hosts_and_files_are_out_of_reach(words: str) -> None:
    async def main() -> None:
        async with visiting() as (pages, episode, begun):
            seen = await episode.step(f"click {number(begun, words)}")
            if words == "ask":
                assert "kept out" in (await episode.step("wait")).text
            assert "the secret" not in seen.text
            assert "root:" not in seen.text
            assert "localhost/secret" not in pages.asked
            assert not (await episode.step("scroll up")).done

    run(main())


def test_a_name_of_a_private_address_must_be_allowed() -> None:
    async def main() -> None:
        async with site() as pages:
            start = [f"http://localhost:{pages.port}/two"]
            async with opened(options(pages, start=start)) as episode:
                with pytest.raises(EnvironmentFailed, match="private"):
                    await episode.start()
            async with opened(options(pages, start=start, private=True)) as episode:
                assert "second" in (await episode.start()).text

    run(main())


def test_a_large_page_is_cut() -> None:
    async def main() -> None:
        async with visiting("/huge", max_observation_chars=8000) as (_, _episode, begun):
            assert len(begun.text) < 8000
            assert "scroll down" in begun.text

    run(main())


def test_a_page_that_hangs_ends_the_episode_and_no_other(family: Family) -> None:
    async def main() -> None:
        async with site() as pages:
            environments = Catalogue({"web": options(pages, action_seconds=0.5)})
            first, second = await environments.open("web"), await environments.open("web")
            begun, _ = await first.start(), await second.start()
            assert family.members("--type=renderer")
            with pytest.raises(EnvironmentFailed, match="does not answer"):
                await first.step(f"click {number(begun, 'hang')}")
            await first.aclose()
            assert not (await second.step("scroll down")).error
            await second.aclose()
            await family.gone()
            await environments.aclose()

    run(main())


@pytest.mark.parametrize("kind", ["--type=renderer", "--remote-debugging-pipe"])
def test_a_page_or_browser_that_is_killed_is_a_failure_and_the_next_episode_works(kind: str, family: Family) -> None:
    async def main() -> None:
        async with site() as pages:
            environments = Catalogue({"web": options(pages)})
            episode = await environments.open("web")
            await episode.start()
            for process in family.members(kind):
                os.kill(process, signal.SIGKILL)
            with pytest.raises(EnvironmentFailed, match="gone"):
                await episode.step("scroll down")
            again = await environments.open("web")
            assert "Welcome" in (await again.start()).text
            await environments.aclose()
            await family.gone()

    run(main())


@pytest.mark.parametrize("moment", ["start", "step"])
def test_a_cancelled_episode_leaves_no_browser(moment: str, family: Family) -> None:
    async def main() -> None:
        async with site() as pages:
            environments = Catalogue({"web": options(pages, action_seconds=10)})
            episode = await environments.open("web")
            if moment == "start":
                task = asyncio.ensure_future(episode.start())
                await until(lambda: family.members("--remote-debugging-pipe"))
            else:
                begun = await episode.start()
                task = asyncio.ensure_future(episode.step(f"click {number(begun, 'hang')}"))
                assert family.members("--type=renderer")
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert task.cancelled()
            await episode.aclose()
            await family.gone()
            await environments.aclose()

    run(main())


ABANDONED = """
import asyncio
from decoders.environments.catalogue import Catalogue
from decoders.environments.options import BrowserOptions

async def main():
    options = BrowserOptions(kind="browser", task="miniwob", tasks=["click-test"])
    await (await Catalogue({"web": options}).open("web")).start()
    print("started", flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


def test_a_killed_server_leaves_no_browser(family: Family) -> None:
    pytest.importorskip("miniwob", reason="pip install miniwob")
    with subprocess.Popen([sys.executable, "-c", ABANDONED], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
        assert family.members("--type=renderer")
        process.kill()
    run(family.gone())


def test_mistakes_in_the_configuration() -> None:
    for fields in ({"start": []}, {"start": ["ftp://x"]}, {"hosts": ["a b"]}, {"executable": "/nowhere"}):
        given = {"kind": "browser", "start": ["http://127.0.0.1"], **fields}
        with pytest.raises(ValueError, match=rf"environments\.web: {next(iter(fields))}"):
            Catalogue({"web": BrowserOptions.model_validate(given)})

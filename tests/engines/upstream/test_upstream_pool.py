"""Who gets which call: limits, turns, load, and the beginnings that a host has seen."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from benchmarks.fake_upstream import Exchange, Request
from decoders.core.messages import Message, Prompt, Sampling
from server.engines.upstream.affinity import Prefixes, beginnings
from server.engines.upstream.body import Call
from server.engines.upstream.failures import Setback
from server.engines.upstream.host import Host
from server.engines.upstream.pool import Pool
from server.model_options import UpstreamHost, UpstreamOptions
from tests.engines.upstream.support import HELLO, Upstream, complete, engine, run, say

LONG = "The quick brown fox. " * 100


def about(text: str) -> Prompt:
    return Prompt((Message("user", text),))


def pool(hosts: int, max_in_flight: int = 100) -> Pool:
    made = [
        Host(UpstreamHost(url=f"http://host{i}/v1", max_in_flight=max_in_flight), UpstreamOptions())
        for i in range(hosts)
    ]
    for host in made:
        host.models = {"m": None}
    return Pool(made)


def call(prompt: Prompt = HELLO, priority: int = 0) -> Call:
    return Call("m", prompt, Sampling(max_tokens=1, priority=priority))


def test_a_host_has_no_more_calls_than_its_limit_and_none_is_lost() -> None:
    async def main() -> None:
        async def slow(request: Request, exchange: Exchange) -> None:
            await asyncio.sleep(0.005)
            await say("x")(request, exchange)

        one, two = Upstream(slow), Upstream(slow)
        async with engine(one, two, max_in_flight=2) as made:
            found = await asyncio.gather(*(complete(made, n=3) for _ in range(5)))
            assert sum(len(choices) for choices in found) == 15
            assert (one.most, two.most) == (2, 2)
            assert [host.in_flight for host in made.pool.hosts] == [0, 0]

    run(main)


def test_calls_wait_in_turn_the_more_urgent_first() -> None:
    async def main() -> None:
        hosts = pool(1, max_in_flight=1)
        busy = await hosts.acquire(call())
        order: list[str] = []

        async def wait(name: str, priority: int) -> None:
            host = await hosts.acquire(call(priority=priority))
            order.append(name)
            hosts.release(host)

        names = [("first", 0), ("second", 0), ("late", 5), ("urgent", -1)]
        waiting = [asyncio.create_task(wait(*name)) for name in names]
        await asyncio.sleep(0)
        hosts.release(busy)
        await asyncio.gather(*waiting)
        assert order == ["urgent", "first", "second", "late"]

    run(main)


def test_a_call_that_is_given_up_while_it_waits_leaves_no_trace() -> None:
    async def main() -> None:
        hosts = pool(1, max_in_flight=1)
        busy = await hosts.acquire(call())
        waiting, served = (asyncio.create_task(hosts.acquire(call())) for _ in range(2))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        hosts.release(busy)
        served.cancel()  # it has its place already, and nobody there to take it
        await asyncio.gather(served, return_exceptions=True)
        assert hosts.hosts[0].in_flight == 0
        assert (await hosts.acquire(call())) is busy

    run(main)


def test_who_waits_for_a_host_that_fails_is_told() -> None:
    async def main() -> None:
        hosts = pool(1, max_in_flight=1)
        busy = await hosts.acquire(call())
        waiting = asyncio.create_task(hosts.acquire(call()))
        await asyncio.sleep(0)
        busy.breaker.open("gone")
        hosts.release(busy)
        with pytest.raises(Setback, match="no upstream takes calls"):
            await waiting

    run(main)


async def spread(hosts: Pool, prompts: Sequence[Prompt]) -> list[str]:
    return [(await hosts.acquire(call(prompt))).url for prompt in prompts]


def test_unknown_prompts_go_to_the_least_busy() -> None:
    async def main() -> None:
        hosts = pool(3)
        await spread(hosts, [about(f"{i} {LONG}") for i in range(9)])
        assert [host.in_flight for host in hosts.hosts] == [3, 3, 3]

    run(main)


def test_a_prompt_goes_where_its_beginning_is_known() -> None:
    async def main() -> None:
        hosts = pool(3)
        (home,) = await spread(hosts, [about(LONG)])
        others = await spread(hosts, [about(f"{i} {LONG}") for i in range(4)])
        assert len({home, *others}) == 3
        assert set(await spread(hosts, [about(LONG + str(i)) for i in range(4)])) == {home}

    run(main)


def test_a_clearly_busier_host_does_not_get_it_all_the_same() -> None:
    async def main() -> None:
        hosts = pool(2)
        urls = await spread(hosts, [about(LONG)] * 40)
        assert urls[0] == urls[5]
        assert {urls.count(url) for url in set(urls)} <= set(range(10, 31))

    run(main)


def test_replicas_agree_on_the_host_of_a_new_prompt() -> None:
    async def main() -> None:
        prompts = [about(f"{i} {LONG}") for i in range(30)]
        firsts: list[list[str]] = []
        for replica in (pool(3), pool(3)):
            firsts.append([])
            for prompt in prompts:
                host = await replica.acquire(call(prompt))
                replica.release(host)
                firsts[-1].append(host.url)
        assert firsts[0] == firsts[1]
        assert len(set(firsts[0])) == 3

    run(main)


def test_beginnings_are_shared_as_far_as_the_prompts_are() -> None:
    one, two = beginnings(about(LONG + "a")), beginnings(about(LONG + "b"))
    assert one[:-1] == two[:-1]
    assert one[-1] != two[-1]
    assert len(one) == -(-len("\nuser\n" + LONG + "a\n") // 256)
    assert len(beginnings(about("x" * 10_000_000))) == 256
    assert beginnings(Prompt(token_ids=(1, 2))) == beginnings(Prompt(text="1 2"))


def test_the_least_recently_used_beginnings_are_forgotten() -> None:
    seen = Prefixes(capacity=4)
    seen.learn([1, 2])
    seen.learn([3, 4])
    seen.learn([1])
    seen.learn([5])
    assert [seen.known([n]) for n in (1, 2, 3, 4, 5)] == [1, 0, 1, 1, 1]
    assert seen.known([1, 7, 4, 9]) == 3
    seen.clear()
    assert seen.known([1]) == 0

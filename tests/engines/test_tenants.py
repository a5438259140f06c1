"""Tenants in the embedded engine: turns, models within a bound, a deletion under way, adapters side by side."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from decoders.core.errors import EngineUnavailable, UnknownModel
from decoders.core.messages import Sampling
from server.engines.embedded import EmbeddedEngine
from server.engines.embedded.checkpoint import weights
from server.engines.embedded.models import Models, Tenants
from server.engines.embedded.scheduler import Scheduler
from server.engines.embedded.turns import Arrivals, Turns
from server.engines.tenants import adapters
from server.engines.tenants.ledger import Ledger
from server.engines.vllm.tenants import LoraTenants
from server.model_options import SHIPPED
from tests.engines.support import collect
from tests.engines.tenants import changes, merged
from tests.engines.upstream.support import until

GREEDY = Sampling(30, temperature=0)
PROMPTS = [(10, 11, 12, 13, 14 + i) for i in range(3)]


@asynccontextmanager
async def engine(tenants: Path, **options: Any) -> AsyncGenerator[EmbeddedEngine, None]:
    shape = {"threads": 1, "slots": 4, "context_length": 200, "ignore_eos": True, **options}
    made = EmbeddedEngine(SHIPPED, model="tiny", tenants=tenants, **shape)
    await made.start()
    try:
        yield made
    finally:
        await made.aclose()


async def say(made: EmbeddedEngine, tenant: str, ids: tuple[int, ...], sampling: Sampling = GREEDY) -> list[int]:
    (result,) = await collect(made.tenant(tenant) if tenant else made, list(ids), sampling)  # type: ignore[arg-type]
    return result.ids


def lora(folder: Path, *tenants: str) -> Path:
    for number, tenant in enumerate(tenants):
        rng = np.random.default_rng(number)
        parts = {
            name: (rng.normal(size=(4, tensor.shape[1])).astype("f4"), rng.normal(size=(len(tensor), 4)).astype("f4"))
            for name, tensor in weights(SHIPPED).items()
            if name.endswith(("q_proj.weight", "down_proj.weight"))
        }
        adapters.write(folder / tenant, parts, rank=4, alpha=8.0, base="tiny")
    return folder


def waiting(*tenants: str) -> list[Any]:
    return [SimpleNamespace(tenant=tenant, cancelled=False) for tenant in tenants]


def test_turns_go_round_and_nobody_is_passed_over() -> None:
    turns, served = Turns(most=2), list[str]()
    turns.extend(waiting(*["a"] * 6, "b", *["c"] * 3))
    while turns:
        if turns.over(busy=False):
            turns.pass_on()
        sequence = turns.next()
        assert sequence is not None
        served.append(sequence.tenant)
        turns.spend()
    assert "".join(served) == "aabccaacaa"


def test_without_others_a_turn_does_not_end() -> None:
    turns = Turns(most=1)
    turns.extend(waiting("", "", ""))
    for _ in range(3):
        assert not turns.over(busy=True)
        turns.next()
        turns.spend()
    turns.extend(waiting("a"))
    assert turns.over(busy=True)


def test_in_order_of_arrival_each_change_of_tenant_waits_for_the_last_one() -> None:
    turns = Arrivals()
    turns.extend(waiting("a", "b", "a"))
    assert not turns.over(busy=True)
    turns.pass_on()
    assert [getattr(turns.next(), "tenant", None), turns.next()] == ["a", None]


def test_models_stay_within_their_bytes_and_are_made_anew(tmp_path: Path) -> None:
    ledger, base = merged(tmp_path, SHIPPED, "a", "b", "c"), weights(SHIPPED)
    size = sum(base[name].nbytes for name in ledger.terms.shapes)
    made: list[Any] = []

    def make(changed: Any) -> int:
        made.append(changed)
        return len(made)

    models = Models(0, make, Tenants(ledger, 2 * size), base)
    assert [models.of(tenant) for tenant in ("a", "b", "a", "", "c", "a", "b")] == [1, 2, 1, 0, 3, 1, 4]
    assert len(models) == 2
    assert all(np.array_equal(made[1][name], made[3][name]) for name in made[1])
    with pytest.raises(UnknownModel):
        models.of("d")


@pytest.mark.parametrize("backend", ["onnx", "torch"])
def test_side_by_side_every_tenant_says_what_it_says_alone(tmp_path: Path, backend: str) -> None:
    merged(tmp_path, SHIPPED, "a", "b")

    async def main() -> None:
        async with engine(tmp_path, backend=backend, tenant_turn=3) as made:
            jobs = [(tenant, ids) for ids in PROMPTS for tenant in ("", "a", "b")]
            alone = [await say(made, *job) for job in jobs]
            assert len({tuple(ids) for ids in alone[:3]}) == 3
            assert await asyncio.gather(*(say(made, *job) for job in jobs)) == alone

    asyncio.run(main())


def test_a_long_call_of_one_tenant_does_not_hold_up_anothers(tmp_path: Path) -> None:
    merged(tmp_path, SHIPPED, "a", "b")

    async def main() -> None:
        async with engine(tmp_path, tenant_turn=8) as made:
            long = asyncio.create_task(say(made, "a", PROMPTS[0], Sampling(190, temperature=0)))
            await until(lambda: made.running > 0)
            await say(made, "b", PROMPTS[1], Sampling(5))
            assert not long.done()
            assert len(await long) == 190

    asyncio.run(main())


def test_what_was_computed_for_one_tenant_is_no_beginning_of_anothers_prompt(tmp_path: Path) -> None:
    merged(tmp_path, SHIPPED, "a", "b")
    ids = tuple(range(10, 90))

    async def cached(made: EmbeddedEngine, tenant: str) -> int:
        return (await collect(made.tenant(tenant), list(ids), Sampling(1)))[0].cached  # type: ignore[arg-type]

    async def main() -> None:
        async with engine(tmp_path) as made:
            assert [await cached(made, tenant) for tenant in "abab"] == [0, 0, 79, 79]
            await made.delete_tenant("a")
            assert [await cached(made, "b") for _ in range(2)] == [0, 79]

    asyncio.run(main())


@pytest.mark.parametrize("backend", ["onnx", "torch"])
def test_a_call_that_a_deletion_overtakes_goes_on_as_if_it_had_begun_with_the_new_weights(
    tmp_path: Path, backend: str
) -> None:
    ledger = merged(tmp_path / "x", SHIPPED, "a", "b")
    never = Ledger.create(tmp_path / "never", ledger.terms)
    never.add("b", changes(ledger.terms, 1))

    async def main() -> None:
        async with engine(tmp_path / "x", backend=backend) as made:
            gone = asyncio.create_task(say(made, "a", PROMPTS[0], Sampling(180)))
            going = asyncio.create_task(say(made, "b", PROMPTS[1], Sampling(60, temperature=0)))
            scheduler = made._scheduler
            assert isinstance(scheduler, Scheduler)
            done: list[int] = []

            def overtake() -> None:
                at_work = {sequence.tenant: sequence for sequence in [*scheduler._waiting, *scheduler._held()]}
                if at_work["b"].generated >= 5:
                    Ledger(tmp_path / "x").delete("a")
                    made._tenants.source.refresh()  # type: ignore[union-attr]
                    done.append(at_work["b"].generated)
                    scheduler.renew(["b"])

            await until(lambda: made.running > 0)
            while not done:
                await asyncio.wrap_future(scheduler.do(overtake))
            with pytest.raises(UnknownModel, match="was deleted"):
                await gone
            whole = await going
        async with engine(tmp_path / "never", backend=backend) as other:
            before, tail = whole[: done[0]], whole[done[0] :]
            assert tail
            assert await say(other, "b", (*PROMPTS[1], *before), Sampling(len(tail), temperature=0)) == tail

    asyncio.run(main())


def test_the_tenants_of_another_base_are_refused(tmp_path: Path, tiny_folder: Path) -> None:
    merged(tmp_path, tiny_folder, "a")

    async def main() -> None:
        with pytest.raises(EngineUnavailable, match="another base"):
            async with engine(tmp_path):
                pass

    asyncio.run(main())


def test_adapters_share_a_batch_on_torch_and_say_the_same_in_turns(tmp_path: Path) -> None:
    lora(tmp_path, "a", "b")

    async def all_of_it(made: EmbeddedEngine) -> list[list[int]]:
        return await asyncio.gather(*(say(made, tenant, PROMPTS[0]) for tenant in ("", "a", "b")))

    async def main() -> None:
        async with engine(tmp_path, backend="torch") as mixed, engine(tmp_path, backend="onnx") as turns:
            said = await all_of_it(mixed)
            assert len({tuple(ids) for ids in said}) == 3
            assert said == await all_of_it(turns)
            task = asyncio.create_task(say(mixed, "a", PROMPTS[0], Sampling(190)))
            await until(lambda: mixed.running > 0)
            await mixed.delete_tenant("a")
            assert not (tmp_path / "a").exists()
            with pytest.raises(UnknownModel):
                await task
            assert await say(mixed, "b", PROMPTS[0]) == said[2]

    asyncio.run(main())


@pytest.mark.parametrize("backend", ["onnx", "torch"])
def test_an_adapter_that_cannot_be_read_fails_its_own_calls_only(tmp_path: Path, backend: str) -> None:
    lora(tmp_path, "a", "broken", "other")
    (tmp_path / "broken" / adapters.WEIGHTS).write_bytes(b"no tensors")
    config = tmp_path / "other" / adapters.CONFIG
    config.write_text(config.read_text().replace('"r": 4', '"r": 4, "use_dora": true'))

    async def main() -> None:
        async with engine(tmp_path, backend=backend) as made:
            calls = (say(made, tenant, PROMPTS[0]) for tenant in ("a", "broken", "", "other"))
            said = await asyncio.gather(*calls, return_exceptions=True)
            assert [type(result) for result in said] == [list, EngineUnavailable, list, EngineUnavailable]
            assert "no plain LoRA" in str(said[3])
            assert await say(made, "a", PROMPTS[0]) == said[0]

    asyncio.run(main())


def test_vllm_is_given_a_number_for_each_adapter_that_is_never_used_again(tmp_path: Path) -> None:
    lora(tmp_path, "a", "b")
    tenants = LoraTenants(tmp_path, lambda name, number, path: (name, number, path), first=3)
    first, second = tenants.request("a"), tenants.request("b")
    assert (first[1], second[1]) == (3, 4)
    assert tenants.request("a") is first
    tenants.delete("a")
    assert list(tenants.gone.values()) == [first]
    with pytest.raises(UnknownModel):
        tenants.request("a")
    lora(tmp_path, "a")
    assert tenants.request("a")[1] == 5


def test_vllm_serves_no_merged_model(tmp_path: Path) -> None:
    merged(tmp_path, SHIPPED)
    with pytest.raises(ValueError, match="only the embedded engine"):
        LoraTenants(tmp_path, lambda *told: told)

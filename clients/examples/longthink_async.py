"""Our client in asyncio: several runs at once, each of which can be watched, waited for or stopped."""

import asyncio
import os

from clients import AsyncLongThink


async def main() -> None:
    """Ask two decoders the same and stop a third one."""
    async with AsyncLongThink(base_url=os.environ.get("LONGTHINK_BASE_URL")) as client:
        asked = [client.solve("Use 11 9 6 1 to make 49", decoder=name, seed=1) for name in ("rc", "self_refine")]
        runs = await asyncio.gather(*asked)
        await asyncio.gather(*(run.wait() for run in runs))
        for run in runs:
            print(run.text, "for", run.usage.completion_tokens, "tokens")

        async with await client.solve("Use 12 11 8 6 to make 30", decoder={"name": "rc", "turns": 1000}) as long:
            async for _ in long:
                break
        print(long.status)


asyncio.run(main())

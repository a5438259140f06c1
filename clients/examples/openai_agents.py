"""OpenAI's agents SDK: every step of an agent thinks with a decoder. `pip install openai-agents`."""

import asyncio
import os

from agents import Agent, ModelSettings, RunConfig, Runner
from agents.models.openai_chatcompletions import OpenAIChatCompletionsModel

from clients import AsyncLongThink


async def main() -> None:
    """One agent without tools; with tools nothing changes, where the served model can call them."""
    async with AsyncLongThink(base_url=os.environ.get("LONGTHINK_BASE_URL")) as client:
        agent = Agent(
            "solver",
            model=OpenAIChatCompletionsModel("longthink-tiny", client),
            model_settings=ModelSettings(max_tokens=4000, extra_body={"decoder": "rc", "seed": 1}),
        )
        done = await Runner.run(agent, "Use 11 9 6 1 to make 49", run_config=RunConfig(tracing_disabled=True))
        print(done.final_output)


asyncio.run(main())

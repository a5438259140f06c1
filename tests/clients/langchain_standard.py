"""LangChain's standard tests for chat models, ours being `ChatOpenAI` at LONGTHINK_BASE_URL, for a few decoders.

Run by `test_langchain.py` in the environment of the harnesses: the pytest plugins it needs are unwelcome elsewhere.
Rule: nothing of ours is imported here; what is switched off says why.
"""

from __future__ import annotations

import os
from typing import Any

from langchain_openai import ChatOpenAI
from langchain_tests.integration_tests import ChatModelIntegrationTests


class Standard(ChatModelIntegrationTests):
    """The suite, about to be told the name of a model.

    Left as the suite has them, which is off: pictures, PDF and audio, which the tests fetch from the network, and
    Anthropic's content blocks, which are for `/v1/messages`.
    """

    served: str

    @property
    def chat_model_class(self) -> type[ChatOpenAI]:
        return ChatOpenAI

    @property
    def chat_model_params(self) -> dict[str, Any]:
        url = os.environ["LONGTHINK_BASE_URL"]
        return {"model": self.served, "base_url": url, "api_key": "none", "max_retries": 0, "stream_usage": True}

    @property
    def supports_json_mode(self) -> bool:
        return True

    @property
    def supports_model_override(self) -> bool:
        return True

    @property
    def model_override_value(self) -> str:
        return "base:best_of_n"

    @property
    def supported_usage_metadata_details(self) -> dict[str, list[str]]:
        kinds = ["reasoning_output", "cache_read_input"]
        return {"invoke": kinds, "stream": kinds}

    def invoke_with_reasoning_output(self, *, stream: bool = False) -> Any:
        return self._ask(stream)

    def invoke_with_cache_read_input(self, *, stream: bool = False) -> Any:
        return self._ask(stream)

    def _ask(self, stream: bool) -> Any:
        model = self.chat_model_class(**self.chat_model_params)
        if not stream:
            return model.invoke("Think about it")
        first, *others = model.stream("Think about it")
        return sum(others, first)


class TestDirect(Standard):
    served = "base"


class TestReasoningCache(Standard):
    served = "base:rc"


class TestSelfConsistency(Standard):
    served = "base:self_consistency"

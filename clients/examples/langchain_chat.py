"""LangChain: `extra_body` carries the decoder. `pip install langchain-openai`."""

import os

from langchain_openai import ChatOpenAI
from pydantic import SecretStr

model = ChatOpenAI(
    model="longthink-tiny",
    base_url=os.environ.get("LONGTHINK_BASE_URL", "http://127.0.0.1:8000/v1"),
    api_key=SecretStr("none"),
    seed=1,
    extra_body={"decoder": {"name": "rc", "turns": 32}},
)
reply = model.invoke("Use 11 9 6 1 to make 49")
print(reply.content, "for", reply.usage_metadata["output_tokens"] if reply.usage_metadata else 0, "tokens")
print("".join(str(chunk.content) for chunk in model.stream("Use 11 9 6 1 to make 49")))

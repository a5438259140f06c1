"""LiteLLM: any OpenAI-compatible server is `openai/<model>`. `pip install litellm`."""

import os

import litellm

done = litellm.completion(
    model="openai/longthink-tiny",
    api_base=os.environ.get("LONGTHINK_BASE_URL", "http://127.0.0.1:8000/v1"),
    api_key="none",
    messages=[{"role": "user", "content": "Use 11 9 6 1 to make 49"}],
    seed=1,
    extra_body={"decoder": {"name": "rc", "turns": 32}},
)
print(done.choices[0].message.content, "for", done.usage.completion_tokens, "tokens")

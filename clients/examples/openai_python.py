"""The official client: a decoder goes into `extra_body`, or behind the model's name. `pip install openai`."""

import os

import openai

client = openai.OpenAI(base_url=os.environ.get("LONGTHINK_BASE_URL", "http://127.0.0.1:8000/v1"), api_key="none")
question = "Use 11 9 6 1 to make 49"

done = client.chat.completions.create(
    model="longthink-tiny",
    messages=[{"role": "user", "content": question}],
    max_completion_tokens=4000,
    seed=1,
    extra_body={"decoder": {"name": "rc", "turns": 32}},
)
print(done.choices[0].message.content, "for", done.usage.completion_tokens if done.usage else 0, "tokens")

stream = client.responses.create(
    model="longthink-tiny:rc", input=question, max_output_tokens=4000, stream=True, extra_body={"seed": 1}
)
for event in stream:
    if event.type == "response.output_text.delta":
        print(event.delta, end="", flush=True)
print()

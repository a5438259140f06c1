// Asks a running server through the official client and prints, as one JSON object, what the client understood.
import OpenAI from "openai";

const [url, model] = process.argv.slice(2);
const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: "x", maxRetries: 0, timeout: 20_000 });
const messages = [{ role: "user", content: "hello there" }];

async function collect(stream, pick) {
  const found = [];
  for await (const event of stream) found.push(pick(event));
  return found;
}

const chat = await client.chat.completions.create({ model, messages, seed: 1 });
const chunks = await client.chat.completions.create({ model, messages, seed: 1, stream: true });
const told = await collect(chunks, (chunk) => chunk.choices[0]?.delta?.content ?? "");

const text = await client.completions.create({ model, prompt: "say it", max_tokens: 50 });

const response = await client.responses.create({ model, input: "hello", seed: 1 });
const running = await client.responses.create({ model, input: "hello", seed: 1, background: true, stream: true });
const events = await collect(running, (event) => event);
const id = events[0].response.id;
const resumed = await client.responses.retrieve(id, { stream: true, starting_after: 3 });
const rest = await collect(resumed, (event) => event.sequence_number);
const items = await client.responses.inputItems.list(id);
const cancelled = await client.responses.cancel(id);
await client.responses.delete(id);
const missing = await client.responses.retrieve(id).catch((error) => error);
const refused = await client.chat.completions.create({ model, messages, temperature: 9 }).catch((error) => error);

console.log(
  JSON.stringify({
    chat: chat.choices[0].message.content,
    usage: chat.usage.completion_tokens,
    streamed: told.join(""),
    models: (await client.models.list()).data.map((entry) => entry.id),
    text: text.choices[0].text,
    response: response.output_text,
    numbers: events.map((event) => event.sequence_number),
    last: events.at(-1).type,
    rest,
    items: items.data.map((item) => item.content[0].text),
    cancelled: cancelled.status,
    missing: missing.status,
    refused: [refused.status, refused.param],
  }),
);

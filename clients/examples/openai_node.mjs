// The official Node client: fields that it does not know are sent as they are. `npm install openai`
import OpenAI from "openai";

const baseURL = process.env.LONGTHINK_BASE_URL ?? "http://127.0.0.1:8000/v1";
const client = new OpenAI({ baseURL, apiKey: "none" });
const asked = {
  model: "longthink-tiny",
  messages: [{ role: "user", content: "Use 11 9 6 1 to make 49" }],
  decoder: { name: "rc", turns: 32 },
  max_completion_tokens: 4000,
  seed: 1,
};

const done = await client.chat.completions.create(asked);
console.log(done.choices[0].message.content, "for", done.usage.completion_tokens, "tokens");

for await (const chunk of await client.chat.completions.create({ ...asked, stream: true })) {
  process.stdout.write(chunk.choices[0]?.delta?.content ?? "");
}
console.log();

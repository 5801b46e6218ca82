// OpenAI's SDK for Node, with its helpers stream(), parse() and runTools(). Prints one JSON object.
import OpenAI from "openai";
import { zodResponseFormat } from "openai/helpers/zod";
import { z } from "zod";

const client = new OpenAI({ baseURL: process.argv[2], apiKey: "none", maxRetries: 0 });
const asked = (model, content, more = {}) => ({ model, messages: [{ role: "user", content }], ...more });
const counted = { stream_options: { include_usage: true } };

const calls = [];
const weather = {
  type: "function",
  function: {
    name: "weather",
    description: "Weather of a city.",
    parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
    parse: JSON.parse,
    function: (input) => {
      calls.push(input);
      return `sunny in ${input.city}`;
    },
  },
};

function facts(completion) {
  const { message, finish_reason } = completion.choices[0];
  const { prompt_tokens, completion_tokens } = completion.usage;
  return { text: message.content, finish: finish_reason, tokens: [prompt_tokens, completion_tokens] };
}

async function streamed() {
  const stream = client.chat.completions.stream(asked("relay", "one two", counted));
  let pieces = 0;
  stream.on("content", (delta) => delta && pieces++);
  return { ...facts(await stream.finalChatCompletion()), in_pieces: pieces > 1 };
}

async function tools(stream) {
  calls.length = 0;
  const runner = client.chat.completions.runTools(
    asked("relay", "What is the weather in Rome?", { tools: [weather], stream }),
  );
  const answer = await runner.finalContent();
  if (calls.length !== 1) throw new Error(`called ${calls.length} times`);
  return { name: "weather", arguments: calls[0], answer };
}

async function structured() {
  const report = z.object({ city: z.string(), degrees: z.number().int().min(2) });
  const format = { response_format: zodResponseFormat(report, "report") };
  const completion = await client.chat.completions.parse(asked("relay", "Report on Rome", format));
  return completion.choices[0].message.parsed;
}

async function finalMessage(model, content) {
  return await client.chat.completions.stream(asked(model, content)).finalMessage();
}

async function ownTools() {
  const message = await finalMessage("agent", "What is the weather in Rome?");
  return { text: message.content, calls: message.tool_calls?.length ?? 0 };
}

async function reasoning() {
  const { message } = (await client.chat.completions.create(asked("thinking", "x"))).choices[0];
  return { text: message.content, reasoning: message.reasoning_content };
}

async function streamedReasoning() {
  const said = { text: "", reasoning: "" };
  for await (const chunk of await client.chat.completions.create(asked("thinking", "x", { stream: true }))) {
    const delta = chunk.choices[0]?.delta ?? {};
    said.text += delta.content ?? "";
    said.reasoning += delta.reasoning_content ?? "";
  }
  return said;
}

async function errorOf(call) {
  try {
    await call();
  } catch (error) {
    return String(error.message ?? error);
  }
}

console.log(
  JSON.stringify({
    plain: facts(await client.chat.completions.create(asked("relay", "one two"))),
    streamed: await streamed(),
    tools: await tools(false),
    streamed_tools: await tools(true),
    structured: await structured(),
    events: (await finalMessage("events", "x")).content,
    own_tools: await ownTools(),
    reasoning: await reasoning(),
    streamed_reasoning: await streamedReasoning(),
    unknown_model: await errorOf(() => client.chat.completions.create(asked("nobody", "x"))),
    failing: await errorOf(() => client.chat.completions.create(asked("failing", "raise"))),
    breaking: await errorOf(() => finalMessage("failing", "generator")),
  }),
);

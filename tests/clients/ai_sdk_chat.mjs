// The AI SDK with its provider for OpenAI-compatible servers. Prints one JSON object.
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText, Output, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";

const provider = createOpenAICompatible({
  name: "hayhooks",
  baseURL: process.argv[2],
  apiKey: "none",
  includeUsage: true,
  supportsStructuredOutputs: true,
});
const asked = (model, prompt, more = {}) => ({ model: provider(model), prompt, maxRetries: 0, ...more });

const calls = [];
const weather = tool({
  description: "Weather of a city.",
  inputSchema: z.object({ city: z.string() }),
  execute: async (input) => {
    calls.push(input);
    return `sunny in ${input.city}`;
  },
});

async function streamed(model, prompt, more) {
  const errors = [];
  const result = streamText({ ...asked(model, prompt, more), onError: ({ error }) => errors.push(error) });
  const pieces = [];
  for await (const piece of result.textStream) pieces.push(piece);
  if (errors.length) throw errors[0];
  return { result, pieces };
}

async function plain() {
  const { text, finishReason, usage } = await generateText(asked("relay", "one two"));
  return { text, finish: finishReason, tokens: [usage.inputTokens, usage.outputTokens] };
}

async function streamedFacts() {
  const { result, pieces } = await streamed("relay", "one two");
  const usage = await result.usage;
  return {
    text: pieces.join(""),
    finish: await result.finishReason,
    tokens: [usage.inputTokens, usage.outputTokens],
    in_pieces: pieces.length > 1,
  };
}

async function tools(isStreamed) {
  calls.length = 0;
  const question = "What is the weather in Rome?";
  const more = { tools: { weather }, stopWhen: stepCountIs(3) };
  const answer = isStreamed
    ? (await streamed("relay", question, more)).pieces.join("")
    : (await generateText(asked("relay", question, more))).text;
  if (calls.length !== 1) throw new Error(`called ${calls.length} times`);
  return { name: "weather", arguments: calls[0], answer };
}

async function structured() {
  const schema = z.object({ city: z.string(), degrees: z.number().int().min(2) });
  const { output } = await generateText(asked("relay", "Report on Rome", { output: Output.object({ schema }) }));
  return output;
}

async function ownTools() {
  const { result, pieces } = await streamed("agent", "What is the weather in Rome?");
  return { text: pieces.join(""), calls: (await result.toolCalls).length };
}

async function reasoning() {
  const { text, reasoningText } = await generateText(asked("thinking", "x"));
  return { text, reasoning: reasoningText };
}

async function streamedReasoning() {
  const { result, pieces } = await streamed("thinking", "x");
  return { text: pieces.join(""), reasoning: await result.reasoningText };
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
    plain: await plain(),
    streamed: await streamedFacts(),
    tools: await tools(false),
    streamed_tools: await tools(true),
    structured: await structured(),
    events: (await streamed("events", "x")).pieces.join(""),
    own_tools: await ownTools(),
    reasoning: await reasoning(),
    streamed_reasoning: await streamedReasoning(),
    unknown_model: await errorOf(() => generateText(asked("nobody", "x"))),
    failing: await errorOf(() => generateText(asked("failing", "raise"))),
    breaking: await errorOf(() => streamed("failing", "generator")),
  }),
);

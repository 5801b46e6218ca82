// A2A's SDK for JavaScript, over each binding of 1.0 and as a client of 0.3. Takes an agent's URL, prints one JSON object.
import { AgentCardResolver, ClientFactory, JsonRpcTransportFactory, RestTransportFactory } from "@a2a-js/sdk/client";
import { Role, TaskState } from "@a2a-js/sdk";

const url = process.argv[2];
const card = await AgentCardResolver.default.resolve(`${url}/.well-known/agent-card.json`, "");
let number = 0;

function said(text, more = {}) {
  const part = { content: { $case: "text", value: text }, metadata: undefined, filename: "", mediaType: "" };
  const message = {
    messageId: `js-${number++}`, contextId: "", taskId: "", role: Role.ROLE_USER, parts: [part],
    metadata: undefined, extensions: [], referenceTaskIds: [], ...more,
  };
  return { tenant: "", message, configuration: undefined, metadata: undefined };
}

const textOf = (task) => task.artifacts.flatMap((artifact) => artifact.parts.map((part) => part.content.value)).join("");

async function facts(transport, version) {
  const factory = new ClientFactory({ transports: [transport], preferredTransports: [transport.protocolName] });
  const supportedInterfaces = card.supportedInterfaces.filter((one) => one.protocolVersion === version);
  const client = await factory.createFromAgentCard({ ...card, supportedInterfaces });
  const task = await client.sendMessage(said("hello"));
  const again = await client.getTask({ tenant: "", id: task.id });
  const events = [];
  let streamed = "";
  for await (const { payload } of client.sendMessageStream(said("words a b"))) {
    events.push(payload.$case);
    if (payload.$case === "artifactUpdate") streamed += textOf({ artifacts: [payload.value.artifact] });
  }
  const asked = await client.sendMessage(said("ask"));
  const answered = await client.sendMessage(said("Paris", { taskId: asked.id, contextId: asked.contextId }));
  let error = "";
  try {
    await client.getTask({ tenant: "", id: "none" });
  } catch (found) {
    error = found.name;
  }
  return {
    text: textOf(task), again: textOf(again), first: events[0], last: events.at(-1), streamed,
    asked: TaskState[asked.status.state] ?? asked.status.state, answered: textOf(answered), error,
  };
}

const old = { legacyCompat: { enabled: true } };
console.log(JSON.stringify({
  rpc: await facts(new JsonRpcTransportFactory(), "1.0"),
  rest: await facts(new RestTransportFactory(), "1.0"),
  old_rpc: await facts(new JsonRpcTransportFactory(old), "0.3"),
  old_rest: await facts(new RestTransportFactory(old), "0.3"),
}));

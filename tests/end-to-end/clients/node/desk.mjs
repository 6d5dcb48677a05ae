// A desk as a browser would run it: Connect-Web over the gRPC-web transport, with nothing of ours but the contracts. The page
// comes from another origin, so what CORS forbids a browser to send or to see is forbidden here too.
//
// Signs in, watches the desk as a server stream, opens what rings, answers, reads the reason of a refusal, ends, cancels the
// stream. The contracts come as a descriptor set (protoc --descriptor_set_out), which is what generated code holds as well.
//
// Prints `watching` when the desk is on the screen (then a customer may write), and in the end `evidence` with a JSON object.
import { readFileSync } from "node:fs";
import { randomUUID } from "node:crypto";
import { parseArgs } from "node:util";
import { createFileRegistry, fromBinary } from "@bufbuild/protobuf";
import { FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { createGrpcWebTransport } from "@connectrpc/connect-web";

// Generous: the machine may be busy with other tests.
const PATIENCE = 60_000;
const REPLY = "Buenos días, su reclamo está en camino. Señor Peña.";
const refusals = {};

const { values: options } = parseArgs({
  options: {
    front: { type: "string" }, // http://host:port
    user: { type: "string" },
    passwords: { type: "string" }, // file with lines `user password`
    contracts: { type: "string" }, // descriptor set
    customer: { type: "string" }, // address of the customer who will write
  },
});
const registry = createFileRegistry(fromBinary(FileDescriptorSetSchema, readFileSync(options.contracts)));
const ErrorInfo = registry.getMessage("google.rpc.ErrorInfo");
const BadRequest = registry.getMessage("google.rpc.BadRequest");
const InteractionState = registry.getEnum("hilo.event.v1.InteractionState");

function check(true_, what) {
  if (!true_) throw new Error(what);
}

function state(name) {
  return InteractionState.values.find((value) => value.name === `INTERACTION_STATE_${name}`).number;
}

// `fetch` with a browser's rules for a page of another origin (https://fetch.spec.whatwg.org/#http-cors-protocol): it asks before it
// sends headers of its own, and shows only those of the answer that the server exposes. An asterisk never stands for
// `authorization`.
const ORIGIN = "https://desk.example";
const ALWAYS_SENT = ["accept", "accept-language", "content-language"];
const ALWAYS_SHOWN = ["cache-control", "content-language", "content-length", "content-type", "expires", "last-modified", "pragma"];
const allowed = new Set();

function names(headers, name) {
  return (headers.get(name) ?? "").toLowerCase().split(",").map((one) => one.trim());
}

async function askFirst(url, headers) {
  const wanted = [...headers.keys()].filter((name) => !ALWAYS_SENT.includes(name)).sort();
  if (allowed.has(`${url} ${wanted}`)) return;
  const question = { "access-control-request-method": "POST", "access-control-request-headers": wanted.join(",") };
  const answer = await fetch(url, { method: "OPTIONS", headers: { origin: ORIGIN, ...question } });
  const sendable = names(answer.headers, "access-control-allow-headers");
  const may = (name) => sendable.includes(name) || (sendable.includes("*") && name !== "authorization");
  check(answer.ok && wanted.every(may), `CORS: ${wanted} may not be sent, only ${sendable} (${answer.status})`);
  check(names(answer.headers, "access-control-allow-methods").some((one) => ["*", "post"].includes(one)), "CORS: no POST");
  allowed.add(`${url} ${wanted}`);
}

async function fetchFromAnotherOrigin(url, options) {
  const headers = new Headers(options.headers);
  await askFirst(url, headers);
  headers.set("origin", ORIGIN);
  const answer = await fetch(url, { ...options, headers });
  check(["*", ORIGIN].includes(answer.headers.get("access-control-allow-origin")), "CORS: the answer may not be read");
  const exposed = names(answer.headers, "access-control-expose-headers");
  const shown = (name) => ALWAYS_SHOWN.includes(name) || exposed.includes("*") || exposed.includes(name);
  const visible = [...answer.headers].filter(([name]) => shown(name));
  return new Response(answer.body, { status: answer.status, headers: visible });
}

// A client of a service; every call carries the token, once there is one.
let token = "";
const authorise = (next) => (request) => {
  if (token) request.header.set("authorization", `Bearer ${token}`);
  return next(request);
};
const transport = createGrpcWebTransport({
  baseUrl: options.front,
  interceptors: [authorise],
  defaultTimeoutMs: PATIENCE,
  fetch: fetchFromAnotherOrigin,
});
const client = (name) => createClient(registry.getService(name), transport);
const identity = client("hilo.identity.v1.IdentityService");
const attention = client("hilo.attention.v1.AttentionService");
const routing = client("hilo.routing.v1.RoutingService");
const history = client("hilo.history.v1.HistoryService");

async function refused(what, code, reason, call, fields = []) {
  try {
    await call();
  } catch (thrown) {
    const error = ConnectError.from(thrown);
    check(error.code === code, `${what}: ${error}`);
    const [info] = error.findDetails(ErrorInfo);
    check(info?.reason === reason && info.domain === "hilo", `${what}: ${JSON.stringify(info)}`);
    const said = error.findDetails(BadRequest).flatMap((bad) => bad.fieldViolations.map((one) => one.field));
    check(String(said) === String(fields), `${what}: fields ${said}`);
    refusals[what] = reason;
    return;
  }
  throw new Error(`${what} was not refused`);
}

async function patiently(what, attempt) {
  const deadline = Date.now() + PATIENCE;
  while (Date.now() < deadline) {
    const answer = await attempt();
    if (answer) return answer;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  throw new Error(`not in ${PATIENCE} ms: ${what}`);
}

// The desk as the stream tells it; newer versions win.
class Screen {
  constructor() {
    this.items = new Map();
    this.stop = new AbortController();
    const call = { signal: this.stop.signal, timeoutMs: 5 * PATIENCE };
    this.changes = attention.watchDesk({ channel: "email" }, call)[Symbol.asyncIterator]();
  }

  async next() {
    const { value, done } = await this.changes.next();
    check(!done, "the stream of the desk ended by itself");
    const { case: kind, value: change } = value.update;
    check(kind !== undefined, "an update that the contract does not know");
    if (kind === "snapshot") this.items = new Map(change.items.map((item) => [item.interactionId, item]));
    if (kind === "item" && !(this.items.get(change.interactionId)?.version > change.version)) {
      this.items.set(change.interactionId, change);
    }
    if (kind === "removal") this.items.delete(change.interactionId);
    return kind;
  }

  async until(shown) {
    for (;;) {
      const found = shown([...this.items.values()]);
      if (found) return found;
      await this.next();
    }
  }

  // A browser tab that is closed: the call ends as cancelled, and nothing comes after it.
  async cancel() {
    this.stop.abort();
    try {
      for (;;) await this.next();
    } catch (thrown) {
      check(ConnectError.from(thrown).code === Code.Canceled, `a cancelled stream: ${thrown}`);
    }
  }
}

async function serve() {
  await refused("sign in with a wrong password", Code.Unauthenticated, "UNAUTHENTICATED", () =>
    identity.login({ user: options.user, password: "otra-frase-larga" }));
  await refused("watch without a token", Code.Unauthenticated, "UNAUTHENTICATED", () =>
    attention.watchDesk({ channel: "email" })[Symbol.asyncIterator]().next());
  const lines = readFileSync(options.passwords, "utf8").split("\n");
  const password = lines.map((line) => line.split(" ")).find(([user]) => user === options.user)[1];
  token = (await identity.login({ user: options.user, password })).token;
  const who = await identity.whoAmI({});
  check(who.userKey === options.user && String(who.roles) === "agent", `who I am: ${who.userKey} ${who.roles}`);

  const sessionId = randomUUID();
  const presence = setInterval(() => routing.heartbeat({ sessionId }).catch(() => {}), 15_000);
  presence.unref();
  await routing.heartbeat({ sessionId });

  const screen = new Screen();
  check((await screen.next()) === "snapshot", "a desk begins with its snapshot");
  console.log("watching");
  const item = await screen.until((items) =>
    items.find((item) => item.ringing && item.customerAddress === options.customer));
  check(item.state === state("QUEUED") && typeof item.version === "bigint", `what rings: ${item.state}`);
  const interactionId = item.interactionId;
  const opened = await attention.openInteraction({ interactionId, requestId: randomUUID() });
  check(opened.item.state === state("OPEN"), `opened: ${opened.item.state}`);
  check(opened.messages[0].text.trim() === "Mi reclamo: llegó roto. ¡Señorita Ñandú!", `the mail: ${opened.messages[0].text}`);
  await screen.until((items) => items.find((item) => item.interactionId === interactionId && item.state === state("OPEN")));

  const reply = { interactionId, requestId: randomUUID(), text: REPLY };
  const sent = (await attention.sendMessage(reply)).message;
  const again = (await attention.sendMessage(reply)).message;
  check(again.messageId === sent.messageId, "a repeated request sends nothing twice");
  await patiently("the reply is sent", async () => {
    const { messages } = await attention.listMessages({ attentionId: opened.attention.attentionId });
    return messages.at(-1).deliveryState === "sent";
  });

  const end = (closeAttention) => ({ interactionId, closeAttention, requestId: randomUUID() });
  await refused("end without the form", Code.FailedPrecondition, "FORM_INCOMPLETE",
    () => attention.endInteraction(end(true)), ["values.motivo"]);
  await refused("open what does not exist", Code.NotFound, "INTERACTION_NOT_FOUND", () =>
    attention.openInteraction({ interactionId: randomUUID(), requestId: randomUUID() }));
  await attention.saveForm({ interactionId, baseVersion: 0n, values: { motivo: "Reclamo" } });
  const ended = await attention.endInteraction(end(true));
  check(ended.interaction.state === state("ENDED"), `ended: ${ended.interaction.state}`);
  await screen.until((items) => !items.some((item) => item.interactionId === interactionId));
  await screen.cancel();
  const found = await patiently("history has it", async () => {
    const { threads } = await history.searchThreads({ words: "nandu", attentionNumber: opened.attention.number });
    return threads.length && threads;
  });
  check(found.length === 1 && found[0].interactionId === interactionId, `found ${found.length}`);
  clearInterval(presence);
  await routing.heartbeat({ sessionId, leave: true });
  return { attention: opened.attention.attentionId, message_id: sent.internetMessageId, refusals };
}

serve().then(
  (evidence) => console.log("evidence", JSON.stringify(evidence)),
  (error) => {
    console.error("failed:", error);
    process.exitCode = 1;
  },
);

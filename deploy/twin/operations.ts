/** What routes may ask of instances, on real bindings: rows in D1 and objects, stored objects, values under keys. */

import { HttpError, asHttpError } from "../src/errors.ts";
import { sha256Hex } from "../src/hashing.ts";
import { insertRows } from "../src/ledger/sinks.ts";
import { json } from "../src/messages.ts";
import { objectName, organizationOf } from "../src/sharding.ts";
import type { Call } from "./call.ts";
import { uniform } from "./chance.ts";
import { componentOf, type DeploymentFile, type Step } from "./deployment.ts";
import type { Answer } from "./player.ts";

const TABLE =
  "CREATE TABLE IF NOT EXISTS headroom_rows (key INTEGER NOT NULL, position INTEGER NOT NULL, " +
  "version INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (key, position)) WITHOUT ROWID";
export const READ = "SELECT position, version FROM headroom_rows WHERE key = ? AND position < ? ORDER BY position";
export const WRITE = "INSERT INTO headroom_rows (key, position, version)";
export const WRITE_TAIL = "ON CONFLICT (key, position) DO UPDATE SET version = version + 1";
const WRITE_NONE = "UPDATE headroom_rows SET version = version + 1 WHERE key = ? AND position < 0";
/** One statement for any number of rows: it binds two parameters. */
const FILL =
  "INSERT INTO headroom_rows (key, position, version) " +
  "WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < ?2) " +
  "SELECT ?1, i, 0 FROM n WHERE true ON CONFLICT DO NOTHING";
const FILLED_MAX = 100_000;
/** Seconds for which a stored entry of a cache is fresh, as on the reference. */
const ENTRY_S = 60;
/** Tokens of a route's usage event: so few that no ceiling of what an account may owe is met in a run. */
const TOKENS = 1;
/** Events of so long a time have one date: sent again, an event must be the same to the last field. */
const EVENT_TIMES_MS = 30 * 86_400_000;

type Bindings = Record<string, unknown>;
type Operation = (operations: Operations, instance: string, call: Call) => Promise<Answer>;

/** Which rows this isolate has seen put in place, by instance and key. */
const filled = new Map<string, number>();

export class Operations {
  constructor(
    readonly file: DeploymentFile,
    readonly env: Bindings,
  ) {}

  async run(step: Step, call: Call): Promise<Answer> {
    const component = componentOf(this.file.system, step.instance);
    const operation = OPERATIONS[`${component}.${step.operation}`];
    if (!operation) throw new HttpError(501, "not_yet", `${step.instance}.${step.operation} is not played on this runtime`);
    try {
      return await operation(this, step.instance, call);
    } catch (error) {
      throw asHttpError(error);
    }
  }

  database(instance: string): D1Database {
    return this.env[instance] as D1Database;
  }

  bucket(instance: string): R2Bucket {
    return this.env[instance] as R2Bucket;
  }

  values(instance: string): KVNamespace {
    return this.env[instance] as KVNamespace;
  }

  /** Ask the object of an instance that the key of a request belongs to. */
  async askObject(instance: string, call: Call, path: string, init?: RequestInit): Promise<Response> {
    const shards = this.file.system[instance]?.["shards"];
    const name = objectName(organizationOf(call.key), typeof shards === "number" ? shards : null);
    const namespace = this.env["ROUTE_OBJECTS"] as DurableObjectNamespace;
    const stub = namespace.get(namespace.idFromName(`${instance}/${name}`));
    const answer = await call.spent.during(instance, async () => {
      const response = await stub.fetch(`https://object${path}`, init);
      return { status: response.status, body: await response.text() };
    });
    if (answer.status >= 400) {
      const { code, message } = (JSON.parse(answer.body) as { error: { code: string; message: string } }).error;
      throw new HttpError(answer.status, code, message);
    }
    return new Response(answer.body, { status: answer.status, headers: { "content-type": "application/json" } });
  }

  /** Return the date of a route's usage event: at most 30 days ago, the same for a while. */
  eventTimeMs(): number {
    const openedMs = Number(this.env["OPENED_MS"] ?? 0);
    return openedMs + Math.floor((Date.now() - openedMs) / EVENT_TIMES_MS) * EVENT_TIMES_MS;
  }

  objectsOf(ledger: string): string {
    return String(this.file.system[ledger]?.["objects"] ?? "durable_objects");
  }

  /** Put in place the first rows of a key; once an isolate, and in no time that is attributed to the database. */
  async fill(instance: string, key: number, rows: number): Promise<void> {
    const name = `${instance}/${key}`;
    if ((filled.get(name) ?? -1) >= rows) return;
    const database = this.database(instance);
    const statements = filled.has(instance) ? [] : [database.prepare(TABLE)];
    if (rows > 0) statements.push(database.prepare(FILL).bind(key, rows));
    if (statements.length > 0) await database.batch(statements);
    if (filled.size >= FILLED_MAX) filled.clear();
    filled.set(instance, 0).set(name, rows);
  }
}

async function d1Read(operations: Operations, instance: string, call: Call): Promise<Answer> {
  const rows = rowsOf(call, "rows_read", 1);
  await operations.fill(instance, call.key, rows);
  await call.spent.during(instance, () => operations.database(instance).prepare(READ).bind(call.key, rows).all());
  return null;
}

async function d1Write(operations: Operations, instance: string, call: Call): Promise<Answer> {
  const [read, written] = [rowsOf(call, "rows_read", 0), rowsOf(call, "rows_written", 1)];
  await operations.fill(instance, call.key, read);
  const database = operations.database(instance);
  const rows = Array.from({ length: written }, (_, position) => [call.key, position, 1]);
  const reading = read ? [database.prepare(READ).bind(call.key, read)] : [];
  const writing = written ? insertRows(database, WRITE, rows, WRITE_TAIL) : [database.prepare(WRITE_NONE).bind(call.key)];
  await call.spent.during(instance, () => database.batch([...reading, ...writing]));
  return null;
}

async function r2Put(operations: Operations, instance: string, call: Call): Promise<Answer> {
  const key = objectKey(call);
  const bytes = call.body.byteLength ? call.body : content(key, call.sizeBytes);
  await call.spent.during(instance, () => operations.bucket(instance).put(key, bytes));
  return json({ success: true });
}

async function r2Get(operations: Operations, instance: string, call: Call): Promise<Answer> {
  const key = objectKey(call);
  const fetched = (): Promise<[string, ArrayBuffer] | null> =>
    call.spent.during(instance, async () => {
      const found = await operations.bucket(instance).get(key);
      return found && [found.httpEtag, await found.arrayBuffer()];
    });
  let found = await fetched();
  if (found === null) {
    await operations.bucket(instance).put(key, content(key, call.sizeBytes));
    found = await fetched();
  }
  if (found === null) throw new HttpError(404, "r2_10007", `${key} was deleted meanwhile; ask again`);
  const [etag, bytes] = found;
  return new Response(bytes, { headers: { "content-type": "application/octet-stream", etag } });
}

async function kvGet(operations: Operations, instance: string, call: Call): Promise<Answer> {
  const found = await call.spent.during(instance, () => operations.values(instance).get(`key-${call.key}`, "arrayBuffer"));
  return found === null ? json({ success: true, value: null }) : binary(found);
}

/** Write a key of its own, or the request's: which of the two is looked up, as on the reference. */
async function kvPut(operations: Operations, instance: string, call: Call): Promise<Answer> {
  const { seed = 0 } = operations.file;
  const { route, stepIndex, repetitionIndex, requestId } = call;
  const draw = uniform(seed, route, stepIndex, "new_fraction", repetitionIndex, requestId);
  const isNew = draw < (call.parameters["new_fraction"] ?? 1);
  const name = isNew ? `new-${requestId}-${stepIndex}-${repetitionIndex}` : `key-${call.key}`;
  await call.spent.during(instance, () => operations.values(instance).put(name, bytesOf(call, name)));
  return null;
}

async function kvDelete(operations: Operations, instance: string, call: Call): Promise<Answer> {
  await call.spent.during(instance, () => operations.values(instance).delete(`key-${call.key}`));
  return null;
}

async function kvList(operations: Operations, instance: string, call: Call): Promise<Answer> {
  const page = await call.spent.during(instance, () => operations.values(instance).list());
  return json({ success: true, keys: page.keys.map(({ name }) => name), list_complete: page.list_complete });
}

/** Look an entry up; whether it counts as a hit is the chance of the steps after it, and not what is stored here. */
async function cacheGet(_: Operations, instance: string, call: Call): Promise<Answer> {
  const url = entryUrl(instance, call);
  const found = await call.spent.during(instance, async () => (await caches.default.match(url))?.arrayBuffer());
  if (found) return binary(found);
  return call.sizeBytes ? binary(content(url, call.sizeBytes)) : null;
}

async function cachePut(_: Operations, instance: string, call: Call): Promise<Answer> {
  const url = entryUrl(instance, call);
  const entry = binary(bytesOf(call, url));
  entry.headers.set("cache-control", `max-age=${ENTRY_S}`);
  await call.spent.during(instance, () => caches.default.put(url, entry));
  return null;
}

async function cacheDelete(_: Operations, instance: string, call: Call): Promise<Answer> {
  await call.spent.during(instance, () => caches.default.delete(entryUrl(instance, call)));
  return null;
}

async function queuesSend(operations: Operations, instance: string, call: Call): Promise<Answer> {
  const queue = operations.env[instance] as Queue;
  const message = bytesOf(call, `key-${call.key}`);
  await call.spent.during(instance, () => queue.send(message, { contentType: "bytes" }));
  return null;
}

async function objectsRead(operations: Operations, instance: string, call: Call): Promise<Answer> {
  await operations.askObject(instance, call, `/rows?count=${rowsOf(call, "rows_read", 1)}`);
  return null;
}

async function objectsWrite(operations: Operations, instance: string, call: Call): Promise<Answer> {
  const path = `/rows?count=${rowsOf(call, "rows_written", 1)}`;
  await operations.askObject(instance, call, path, { method: "POST" });
  return null;
}

async function append(operations: Operations, ledger: string, call: Call): Promise<Answer> {
  const event = {
    event_id: `${call.route}.${call.requestId}.${call.stepIndex}.${call.repetitionIndex}`,
    organization_id: organizationOf(call.key),
    user_id: `user-${call.key}`,
    model: "sonnet",
    tokens_in: TOKENS,
    tokens_out: TOKENS,
    event_time_ms: operations.eventTimeMs(),
  };
  const init = { method: "POST", body: JSON.stringify(event) };
  await operations.askObject(operations.objectsOf(ledger), call, "/log", init);
  return null;
}

function ask(path: string, method: string): Operation {
  return async (operations, ledger, call) => {
    const query = `?organization_id=${organizationOf(call.key)}`;
    await operations.askObject(operations.objectsOf(ledger), call, path + query, { method });
    return null;
  };
}

/** The runtime uses the processor as it does; there is nothing to hold for a time that a scenario names. */
async function compute(): Promise<Answer> {
  return null;
}

export const OPERATIONS: Record<string, Operation> = {
  "workers.compute": compute,
  "d1.read": d1Read,
  "d1.write": d1Write,
  "r2.put": r2Put,
  "r2.get": r2Get,
  "kv.get": kvGet,
  "kv.put": kvPut,
  "kv.delete": kvDelete,
  "kv.list": kvList,
  "cache.get": cacheGet,
  "cache.put": cachePut,
  "cache.delete": cacheDelete,
  "queues.send": queuesSend,
  "durable_objects.read": objectsRead,
  "durable_objects.write": objectsWrite,
  "ledger.append": append,
  "ledger.balance": ask("/balance", "GET"),
  "ledger.flush": ask("/flush", "POST"),
};

function rowsOf(call: Call, parameter: string, byDefault: number): number {
  return Math.ceil(call.parameters[parameter] ?? byDefault);
}

/** Return the key of the object that a call is about: ROUTE/OBJECT; further repetitions have their own. */
function objectKey(call: Call): string {
  const key = `${call.route}/${call.objectIndex}`;
  return call.repetitionIndex ? `${key}.${call.repetitionIndex}` : key;
}

/** Return the address of a request's entry: that of its object, or of its key if the request has no bytes. */
function entryUrl(instance: string, call: Call): string {
  const about = call.sizeBytes ? `object-${call.objectIndex}` : `key-${call.key}`;
  return `https://cache.invalid/${instance}/${call.route}/${about}`;
}

function bytesOf(call: Call, name: string): Uint8Array {
  return call.body.byteLength ? call.body : content(name, call.sizeBytes);
}

function binary(bytes: ArrayBuffer | Uint8Array): Response {
  return new Response(bytes, { headers: { "content-type": "application/octet-stream" } });
}

/** Return the bytes of an object that nobody uploaded: text, the same for the same key. */
function content(key: string, sizeBytes: number): Uint8Array {
  const block = new TextEncoder().encode(sha256Hex(key));
  const bytes = new Uint8Array(sizeBytes);
  for (let start = 0; start < sizeBytes; start += block.length) {
    bytes.set(block.subarray(0, Math.min(block.length, sizeBytes - start)), start);
  }
  return bytes;
}

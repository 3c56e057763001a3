/** The API at the edge: what every request meets first. The routes, their scopes and bounds stand in ROUTES.
 *
 * Order of the checks: the route exists, it has the method, the request has a key with the route's scope, the announced
 * body is within the route's bound; only then is the body read.
 */

import { Gatekeeper, type Scope } from "./access.ts";
import {
  failedPrecondition,
  failedToWrite,
  isConditionalWrite,
  validatorHeaders,
  type Validators,
  wantedRange,
} from "./conditions.ts";
import type { Env } from "./env.ts";
import { HttpError, RequestError } from "./errors.ts";
import { usageEvent } from "./ledger/policy.ts";
import { decodedPath, json } from "./messages.ts";
import { checkMethod } from "./methods.ts";
import { objectName } from "./sharding.ts";
import { checkUpgrade, readQuestion } from "./synapse/cloud_synapse.ts";
import * as validation from "./validation.ts";

const BODY_BYTES_MAX = 100_000_000;
const JSON_BODY_BYTES_MAX = 65_536;
/** A question of 100,000 characters, however JSON encodes them. */
const PROMPT_BODY_BYTES_MAX = 1_048_576;
const SEARCH_ROWS_MAX = 100;
export const SYSTEM_USER = "system";
const SEARCH =
  "SELECT id, name, domain, base_model, version, price_cents, downloads FROM loras " +
  "WHERE domain = ? AND is_public = 1 ORDER BY downloads DESC, id LIMIT ?";
const LIST =
  "INSERT INTO loras (id, owner_id, name, domain, base_model, r2_key, version, is_public) " +
  "VALUES (?1, ?2, ?1, ?3, 'unknown', ?4, ?5, 1) " +
  "ON CONFLICT (id) DO UPDATE SET domain = excluded.domain, version = excluded.version";
const OWNER = "INSERT INTO users (id, email) VALUES (?1, ?1 || '@invalid') ON CONFLICT DO NOTHING";
const ADAPTER_NAME = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$/;

/** One request on its way: what a handler may use. */
interface Ask {
  request: Request;
  env: Env;
  query: URLSearchParams;
  name: string;
  body: Uint8Array;
  access: Gatekeeper | null;
}

interface Route {
  scope: Scope;
  bodyBytesMax: number;
  handler: (ask: Ask) => Promise<Response>;
}

interface Place {
  pattern: RegExp;
  field: string;
  methods: Record<string, Route>;
}

function route(scope: Scope, handler: Route["handler"], bodyBytesMax = JSON_BODY_BYTES_MAX): Route {
  return { scope, handler, bodyBytesMax };
}

export const ROUTES: Place[] = [
  { pattern: /^\/log$/, field: "", methods: { POST: route("write", log) } },
  { pattern: /^\/balance$/, field: "", methods: { GET: route("read", ledger) } },
  { pattern: /^\/flush$/, field: "", methods: { POST: route("flush", ledger) } },
  { pattern: /^\/loras$/, field: "", methods: { GET: route("download", search) } },
  {
    pattern: /^\/loras\/([^/]+)\/adapter\.safetensors$/s,
    field: "lora",
    methods: { GET: route("download", download), PUT: route("upload", upload, BODY_BYTES_MAX) },
  },
  { pattern: /^\/synapse\/([^/]+)\/state$/s, field: "session_id", methods: { GET: route("council", synapse) } },
  {
    pattern: /^\/synapse\/([^/]+)\/consensus$/s,
    field: "session_id",
    methods: { POST: route("council", consensus, PROMPT_BODY_BYTES_MAX) },
  },
  { pattern: /^\/synapse\/([^/]+)\/socket$/s, field: "session_id", methods: { GET: route("council", socket) } },
];

/** Whether a path is one of the API's, whatever the method. */
export function hasPath(path: string): boolean {
  return ROUTES.some(({ pattern }) => pattern.test(path));
}

/** Answer a request of the API, or throw why not. */
export async function answer(request: Request, env: Env): Promise<Response> {
  const url = new URL(request.url);
  const [found, name] = find(request.method, decodedPath(url));
  const access = gatekeeper(env);
  access?.check(request, found.scope);
  const body = await readBody(request, found.bodyBytesMax);
  return found.handler({ request, env, query: url.searchParams, name, body, access });
}

function find(method: string, path: string): [Route, string] {
  for (const { pattern, field, methods } of ROUTES) {
    const found = pattern.exec(path);
    if (found) {
      const fitting = methods[checkMethod(method, Object.keys(methods))]!;
      return [fitting, field ? validation.name(field, found[1]) : ""];
    }
  }
  throw new RequestError(404, "not_found", `no route ${JSON.stringify(path.slice(0, 80))}`);
}

/** A deployment without keys serves only where it was told to: an open ledger can be charged by anybody (H10). */
function gatekeeper(env: Env): Gatekeeper | null {
  if (env.ACCESS_KEYS) return new Gatekeeper(env.ACCESS_KEYS);
  if (env.OPEN_ACCESS === "1") return null;
  throw new HttpError(503, "no_keys", "the secret ACCESS_KEYS is not set; the deployment serves nobody without it");
}

/** Read a body up to a bound. A request that announces none has none; one of unknown length is read up to it. */
async function readBody(request: Request, bytesMax: number): Promise<Uint8Array> {
  const tooLarge = (bytes: string): RequestError =>
    new RequestError(413, "body_too_large", `a body of ${bytes} bytes; at most ${bytesMax} here`);
  const announced = request.headers.get("content-length") ?? "0";
  if (/^[0-9]+$/.test(announced) && Number(announced) > bytesMax) throw tooLarge(announced);
  const parts: Uint8Array[] = [];
  let sizeBytes = 0;
  for await (const part of request.body ?? []) {
    parts.push(part);
    sizeBytes += part.byteLength;
    if (sizeBytes > bytesMax) throw tooLarge(`${sizeBytes} or more`);
  }
  return Buffer.concat(parts);
}

async function log({ request, env, body, access }: Ask): Promise<Response> {
  const { organization_id: organizationId } = usageEvent(body);
  access?.checkOrganization(request, organizationId);
  return askLedger(env, organizationId, "/log", { method: "POST", body });
}

async function ledger({ request, env, query, access }: Ask): Promise<Response> {
  const organizationId = validation.name("organization_id", query.get("organization_id"));
  access?.checkOrganization(request, organizationId);
  const path = `${new URL(request.url).pathname}?organization_id=${encodeURIComponent(organizationId)}`;
  return askLedger(env, organizationId, path, { method: request.method === "HEAD" ? "GET" : request.method });
}

/** Ask the ledger of an organisation; once more if the platform says that this may go better. */
export async function askLedger(env: Env, organizationId: string, path: string, init: RequestInit): Promise<Response> {
  const shards = env.LEDGER_SHARDS ? Number(env.LEDGER_SHARDS) : null;
  const id = env.BILLING_LEDGER.idFromName(objectName(organizationId, shards));
  return repeated(() => env.BILLING_LEDGER.get(id).fetch(`https://ledger${path}`, init));
}

/** Make a call, and again after a growing, random pause, where that is safe and can help (docs/HAZARDS.md, H15). */
async function repeated(call: () => Promise<Response>, retries = 3): Promise<Response> {
  for (let retry = 0; ; retry++) {
    try {
      return await call();
    } catch (error) {
      const { retryable, overloaded } = error as { retryable?: boolean; overloaded?: boolean };
      if (!retryable || overloaded || retry >= retries) throw error;
      await scheduler.wait(Math.min(50 * 2 ** retry, 1_000) * Math.random());
    }
  }
}

async function search({ env, query }: Ask): Promise<Response> {
  const domain = validation.name("domain", query.get("domain"));
  const limit = validation.wholeNumberText("limit", query.get("limit") ?? "20", SEARCH_ROWS_MAX, 1);
  const { results } = await env.DB.prepare(SEARCH).bind(domain, limit).all();
  return json({ success: true, loras: results });
}

async function upload({ request, env, query, name, body }: Ask): Promise<Response> {
  if (body.byteLength === 0) throw new RequestError(400, "empty_body", "an adapter must have at least 1 byte");
  const domain = validation.name("domain", query.get("domain") ?? "code");
  const key = adapterKey(name);
  // The object first: a row must never name an object that is not there.
  const stored = await put(env.STORAGE, key, body, request.headers);
  const list = env.DB.prepare(LIST).bind(name, SYSTEM_USER, domain, key, stored.etag);
  await env.DB.batch([env.DB.prepare(OWNER).bind(SYSTEM_USER), list]);
  return json({ success: true, id: name, size_bytes: stored.size, etag: stored.etag });
}

/** Store a body if the preconditions of the request hold. R2 checks again, as it writes, that what they were held
 * against is still what is there: of two writers that saw one version, one is refused.
 */
async function put(bucket: R2Bucket, key: string, body: Uint8Array, headers: Headers): Promise<R2Object> {
  const isConditional = isConditionalWrite(headers);
  const found = isConditional ? await bucket.head(key) : null;
  if (isConditional && failedToWrite(headers, found && validatorsOf(found))) throw writeRefused(found);
  const unchanged = found === null ? { etagDoesNotMatch: "*" } : { etagMatches: found.etag };
  // With a condition the answer may be null, which the types of an unconditional put leave out.
  const stored: R2Object | null = isConditional
    ? await bucket.put(key, body, { onlyIf: unchanged })
    : await bucket.put(key, body);
  if (stored === null) throw writeRefused(await bucket.head(key));
  return stored;
}

function writeRefused(found: R2Object | null): RequestError {
  const stored = found === null ? "there is no object" : `the stored object has the etag ${found.etag}`;
  const message = `a precondition is false: ${stored}; fetch it and decide again`;
  return new RequestError(412, "precondition_failed", message);
}

function validatorsOf(found: R2Object): Validators {
  return { etag: found.etag, uploadedS: Math.floor(found.uploaded.getTime() / 1000) };
}

async function download({ request, env, name }: Ask): Promise<Response> {
  const key = adapterKey(name);
  const found = await env.STORAGE.get(key);
  if (found === null) throw new RequestError(404, "not_found", `there is no adapter ${JSON.stringify(name)}`);
  const validators = validatorsOf(found);
  const failed = failedPrecondition(request.method, request.headers, validators);
  if (failed !== null) await found.body.cancel();
  if (failed === 304) return new Response(null, { status: 304, headers: validatorHeaders(validators) });
  if (failed !== null) {
    const rule = `the stored object has the etag ${found.etag}; fetch it and decide again`;
    throw new RequestError(failed, "precondition_failed", `a precondition is false: ${rule}`);
  }
  const headers = {
    "content-type": "application/octet-stream",
    "accept-ranges": "bytes",
    ...validatorHeaders(validators),
  };
  let part: [number, number] | null;
  try {
    part = wantedRange(request.method, request.headers, validators, found.size);
  } catch (error) {
    await found.body.cancel();
    throw error;
  }
  if (part === null) return sized(found.body, found.size, 200, headers);
  await found.body.cancel();
  const [first, last] = part;
  const length = last - first + 1;
  const ranged = await env.STORAGE.get(key, { range: { offset: first, length }, onlyIf: { etagMatches: found.etag } });
  if (ranged === null || !("body" in ranged)) {
    throw new RequestError(404, "not_found", `the adapter ${JSON.stringify(name)} was replaced meanwhile; ask again`);
  }
  const range = `bytes ${first}-${last}/${found.size}`;
  return sized(ranged.body, length, 206, { ...headers, "content-range": range });
}

/** Return an answer whose length is announced, so that a client sees one that was cut short. */
function sized(body: ReadableStream, length: number, status: number, headers: Record<string, string>): Response {
  const { readable, writable } = new FixedLengthStream(length);
  // A client that goes away ends the pipe; nobody is left to be told.
  body.pipeTo(writable).catch(() => undefined);
  return new Response(readable, { status, headers: { ...headers, "content-length": String(length) } });
}

function adapterKey(name: string): string {
  const key = `loras/${name}/adapter.safetensors`;
  if (name.includes("..") || !ADAPTER_NAME.test(name)) {
    throw new HttpError(400, "r2_10020", `${JSON.stringify(key.slice(0, 80))} is no key of this bucket`);
  }
  return key;
}

async function consensus(ask: Ask): Promise<Response> {
  readQuestion(ask.body);
  return synapse(ask);
}

async function socket(ask: Ask): Promise<Response> {
  checkUpgrade(ask.request);
  return synapse(ask);
}

async function synapse({ request, env, name, body }: Ask): Promise<Response> {
  const path = new URL(request.url).pathname;
  const last = path.slice(path.lastIndexOf("/"));
  const id = env.CLOUD_SYNAPSE.idFromName(name);
  const { headers } = request;
  const method = request.method === "HEAD" ? "GET" : request.method;
  const init = method === "POST" ? { method, body } : { method, headers };
  return repeated(() => env.CLOUD_SYNAPSE.get(id).fetch(`https://synapse${last}`, init));
}

/** A Worker for tests alone: hands calls on to the bindings as they are, and says what came back or was thrown.
 *
 * POST / with {"target": "d1" | "r2" | "object", "binding": NAME, "calls": […]} makes the calls in order.
 */

import { DurableObject } from "cloudflare:workers";

type Sql = { sql: string; params?: (string | number | null)[] };
type D1Call = Sql | { batch: Sql[] };
type R2Call = { op: string; key?: string; text?: string; options?: R2GetOptions & R2ListOptions };
type Asked = { target: string; binding: string; name?: string; calls: unknown[] };

async function outcomes(calls: unknown[], make: (call: never) => unknown): Promise<object[]> {
  const said: object[] = [];
  for (const call of calls) {
    try {
      said.push({ value: await make(call as never) });
    } catch (error) {
      said.push({ error: String((error as Error).message ?? error) });
    }
  }
  return said;
}

function d1(database: D1Database): (call: D1Call) => Promise<unknown> {
  const bound = ({ sql, params = [] }: Sql): D1PreparedStatement => database.prepare(sql).bind(...params);
  return async (call) => ("batch" in call ? database.batch(call.batch.map(bound)) : bound(call).all());
}

function r2(bucket: R2Bucket): (call: R2Call) => Promise<unknown> {
  const facts = (found: R2Object | null): unknown =>
    found && { key: found.key, size: found.size, etag: found.etag, httpEtag: found.httpEtag };
  return async ({ op, key = "", text = "", options = {} }) => {
    if (op === "put") return facts(await bucket.put(key, text));
    if (op === "head") return facts(await bucket.head(key));
    if (op === "delete") return (await bucket.delete(key)) ?? null;
    if (op === "list") {
      const { objects, truncated } = await bucket.list(options);
      return { keys: objects.map((one) => one.key), truncated };
    }
    const found = await bucket.get(key, options);
    return found && { ...(facts(found) as object), text: "body" in found ? await found.text() : null };
  };
}

export class ProbeObject extends DurableObject {
  override async fetch(request: Request): Promise<Response> {
    const { sql, kv } = this.ctx.storage;
    const run = (call: Sql | { get: string } | { list: true }): unknown => {
      if ("get" in call) return kv.get(call.get) ?? null;
      if ("list" in call) return Object.fromEntries(kv.list());
      const cursor = sql.exec(call.sql, ...(call.params ?? []));
      const rows = [...cursor.raw()];
      return { columns: cursor.columnNames, rows, rows_read: cursor.rowsRead, rows_written: cursor.rowsWritten };
    };
    return Response.json(await outcomes(((await request.json()) as Asked).calls, run));
  }
}

// Under the names of the Workers' own classes, so that it finds their state.
export {
  ProbeObject as BillingLedger,
  ProbeObject as CloudSynapse,
  ProbeObject as RouteObject,
  ProbeObject as UsageMeter,
};

export default {
  async fetch(request, env): Promise<Response> {
    if (request.method !== "POST") return new Response("ready");
    const asked = (await request.clone().json()) as Asked;
    const binding = env[asked.binding];
    if (asked.target === "object") {
      const namespace = binding as DurableObjectNamespace;
      return namespace.get(namespace.idFromName(asked.name ?? "probe")).fetch(request);
    }
    const make = asked.target === "d1" ? d1(binding as D1Database) : r2(binding as R2Bucket);
    return Response.json(await outcomes(asked.calls, make as (call: never) => unknown));
  },
} satisfies ExportedHandler<Record<string, unknown>>;

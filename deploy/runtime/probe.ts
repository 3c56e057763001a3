/** A Worker for tests alone: hands calls on to the bindings as they are, and says what came back or was thrown.
 *
 * POST / with {"target": "d1" | "r2" | "kv" | "object", "binding": NAME, "calls": […]} makes the calls in order. Those of an
 * object are events of its own, one after the other, or of a list, together.
 */

import { DurableObject } from "cloudflare:workers";

type Sql = { sql: string; params?: (string | number | null)[] };
type D1Call = Sql | { batch: Sql[] };
type R2Call = { op: string; key?: string; text?: string; options?: R2GetOptions & R2ListOptions };
type KvCall =
  | { get: string }
  | { put: string; text: string; options?: KVNamespacePutOptions }
  | { delete: string }
  | { pages: { prefix?: string; limit?: number } };
type ObjectCall =
  | Sql
  | { get: string | string[] }
  | { put: Record<string, unknown> }
  | { delete: string | string[] }
  | { list: true | DurableObjectListOptions }
  | { clear: true }
  | { alarm: "get" | "delete" | number }
  | { add: string }
  | { remember: true }
  | { fail: true }
  | { transaction: ObjectCall[]; ends: "commit" | "throw" | "rollback" };
type Asked = { target: "d1" | "r2" | "kv" | "object"; binding: string; name?: string; calls: unknown[] };

/** Ends an event, not only one of its calls. */
class Failed extends Error {}

async function outcomes(calls: unknown[], make: (call: never) => unknown): Promise<object[]> {
  const said: object[] = [];
  for (const call of calls) {
    try {
      said.push({ value: await make(call as never) });
    } catch (error) {
      if (error instanceof Failed) throw error;
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

function kv(namespace: KVNamespace): (call: KvCall) => Promise<unknown> {
  return async (call) => {
    if ("put" in call) return (await namespace.put(call.put, call.text, call.options)) ?? null;
    if ("delete" in call) return (await namespace.delete(call.delete)) ?? null;
    if ("get" in call) {
      const { value, metadata } = await namespace.getWithMetadata(call.get);
      return value === null ? null : { value, metadata };
    }
    const pages: string[][] = [];
    let cursor: string | undefined;
    do {
      const page: KVNamespaceListResult<unknown> = await namespace.list({ ...call.pages, ...(cursor ? { cursor } : {}) });
      pages.push(page.keys.map(({ name }) => name));
      cursor = page.list_complete ? undefined : page.cursor;
    } while (cursor);
    return pages;
  };
}

class Undone extends Error {}

export class ProbeObject extends DurableObject {
  #remembered = 0;

  override async fetch(request: Request): Promise<Response> {
    const { calls } = (await request.json()) as Asked;
    return Response.json(await outcomes(calls, (call: ObjectCall) => this.#made(call)));
  }

  async #made(call: ObjectCall): Promise<unknown> {
    const { storage } = this.ctx;
    if ("transaction" in call) return this.#transaction(call);
    if ("sql" in call) {
      const cursor = storage.sql.exec(call.sql, ...(call.params ?? []));
      const rows = [...cursor.raw()];
      return { columns: cursor.columnNames, rows, rows_read: cursor.rowsRead, rows_written: cursor.rowsWritten };
    }
    if ("get" in call) {
      if (typeof call.get === "string") return (await storage.get(call.get)) ?? null;
      return Object.fromEntries(await storage.get(call.get));
    }
    if ("put" in call) return (await storage.put(call.put)) ?? null;
    if ("delete" in call) return typeof call.delete === "string" ? storage.delete(call.delete) : storage.delete(call.delete);
    if ("list" in call) {
      const found = await storage.list(call.list === true ? {} : call.list);
      return call.list === true ? Object.fromEntries(found) : [...found];
    }
    if ("clear" in call) return (await storage.deleteAll()) ?? null;
    if ("alarm" in call) {
      if (call.alarm === "get") return storage.getAlarm();
      return (await (call.alarm === "delete" ? storage.deleteAlarm() : storage.setAlarm(call.alarm))) ?? null;
    }
    if ("add" in call) {
      const before = (await storage.get<number>(call.add)) ?? 0;
      await storage.put(call.add, before + 1);
      return before;
    }
    if ("remember" in call) return ++this.#remembered;
    throw new Failed("asked to fail");
  }

  async #transaction({ transaction, ends }: { transaction: ObjectCall[]; ends: string }): Promise<unknown> {
    try {
      return await this.ctx.storage.transaction(async (inside) => {
        const found: unknown[] = [];
        for (const call of transaction) found.push(await this.#made(call));
        if (ends === "throw") throw new Undone();
        if (ends === "rollback") inside.rollback();
        return found;
      });
    } catch (error) {
      if (error instanceof Undone) return "undone";
      throw error;
    }
  }

  override async alarm(): Promise<void> {}
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
    const asked = (await request.json()) as Asked;
    const binding = env[asked.binding];
    if (asked.target === "object") {
      const namespace = binding as DurableObjectNamespace;
      const object = namespace.get(namespace.idFromName(asked.name ?? "probe"));
      const event = async (calls: unknown): Promise<unknown> => {
        try {
          const answer = await object.fetch("https://object/", { method: "POST", body: JSON.stringify({ calls }) });
          return await answer.json();
        } catch (error) {
          return [{ error: String((error as Error).message ?? error) }];
        }
      };
      if (!asked.calls.some(Array.isArray)) return Response.json(await event(asked.calls));
      return Response.json(await Promise.all(asked.calls.map(event)));
    }
    const makers = {
      d1: () => d1(binding as D1Database),
      r2: () => r2(binding as R2Bucket),
      kv: () => kv(binding as KVNamespace),
    };
    const make = makers[asked.target]() as (call: never) => unknown;
    return Response.json(await outcomes(asked.calls, make));
  },
} satisfies ExportedHandler<Record<string, unknown>>;

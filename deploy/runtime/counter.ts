/** A Worker that counts rows: runs statements on the storage of an object, which has the counter that D1 bills by.
 *
 * POST / with {"name": OBJECT, "calls": [{"sql": …, "params": […], "undo": true | false}]} runs the calls in order and
 * answers with {"rows_read": …, "rows_written": …} or {"error": …} for each. What is to be undone is rolled back, so that a
 * write can be counted again.
 */

import { DurableObject } from "cloudflare:workers";

type Param = string | number | null | { blob: string };
type Call = { sql: string; params?: Param[]; undo?: boolean };
type Outcome = { rows_read: number; rows_written: number } | { error: string };

class Undo extends Error {}

function bound(value: Param): string | number | null | ArrayBuffer {
  if (value === null || typeof value !== "object") return value;
  return Uint8Array.from(value.blob.match(/../g) ?? [], (byte) => Number.parseInt(byte, 16)).buffer;
}

export class RouteObject extends DurableObject {
  override async fetch(request: Request): Promise<Response> {
    const { calls } = (await request.json()) as { calls: Call[] };
    return Response.json(calls.map((call) => this.#counted(call)));
  }

  #counted({ sql, params = [], undo = false }: Call): Outcome {
    const { storage } = this.ctx;
    let outcome: Outcome = { error: "it did not run" };
    const run = (): void => {
      // What is undone breaks no reference: a delete is counted while its children are there.
      if (undo) storage.sql.exec("PRAGMA defer_foreign_keys = on");
      const cursor = storage.sql.exec(sql, ...params.map(bound));
      for (const _ of cursor.raw());
      outcome = { rows_read: cursor.rowsRead, rows_written: cursor.rowsWritten };
      if (undo) throw new Undo();
    };
    try {
      storage.transactionSync(run);
    } catch (error) {
      if (!(error instanceof Undo)) outcome = { error: String((error as Error).message ?? error) };
    }
    return outcome;
  }
}

export default {
  async fetch(request, env): Promise<Response> {
    if (request.method !== "POST") return new Response("ready");
    const { name } = (await request.clone().json()) as { name: string };
    return env.ROUTE_OBJECTS.get(env.ROUTE_OBJECTS.idFromName(name)).fetch(request);
  },
} satisfies ExportedHandler<{ ROUTE_OBJECTS: DurableObjectNamespace }>;

/** The object that routes read and write: rows in its storage, and perhaps a ledger that lives in the same place.
 *
 * GET /rows?count=3 visits the first rows that are there; POST /rows?count=3 writes them; a row holds how often it was
 * written. Anything else goes to the ledger. One object has one queue and one disk, for both.
 */

import { DurableObject } from "cloudflare:workers";
import { RequestError } from "../src/errors.ts";
import { LedgerCore } from "../src/ledger/core.ts";
import { Meters, UsageTable } from "../src/ledger/sinks.ts";
import { errorResponse, json } from "../src/messages.ts";
import * as validation from "../src/validation.ts";
import { componentOf, type DeploymentFile } from "./deployment.ts";

const ROWS_MAX = 100_000;
const KEYS_PER_CALL_MAX = 128;

interface Env extends Record<string, unknown> {
  DEPLOYMENT: DeploymentFile;
  USAGE_METER: DurableObjectNamespace;
}

export class RouteObject extends DurableObject<Env> {
  private ledger: LedgerCore | null | undefined;

  override async fetch(request: Request): Promise<Response> {
    try {
      const url = new URL(request.url);
      if (url.pathname !== "/rows") return await this.tenant(url.pathname).fetch(request);
      const count = url.searchParams.get("count") ?? "";
      const rows = validation.wholeNumberText("count", count, ROWS_MAX);
      return await (request.method === "POST" ? this.write(rows) : this.read(rows));
    } catch (error) {
      return errorResponse(error);
    }
  }

  override async alarm(): Promise<void> {
    await this.tenant("/alarm").alarm();
  }

  private async read(rows: number): Promise<Response> {
    const found = await Promise.all(calls(rows).map((keys) => this.ctx.storage.get<number>(keys)));
    return json({ success: true, rows: found.reduce((sum, one) => sum + one.size, 0) });
  }

  private async write(rows: number): Promise<Response> {
    // What is put without waiting in between is one transaction.
    const all = calls(rows);
    const found = await Promise.all(all.map((keys) => this.ctx.storage.get<number>(keys)));
    const puts = all.map((keys, n) =>
      this.ctx.storage.put(Object.fromEntries(keys.map((key) => [key, (found[n]?.get(key) ?? 0) + 1]))),
    );
    await Promise.all(puts);
    return json({ success: true, rows });
  }

  private tenant(path: string): LedgerCore {
    this.ledger ??= this.build();
    if (this.ledger === null) throw new RequestError(404, "not_found", `the object has no route ${path.slice(0, 80)}`);
    return this.ledger;
  }

  /** Build the ledger that lives in the objects of this instance, if one does. */
  private build(): LedgerCore | null {
    const { system } = this.env.DEPLOYMENT;
    const objects = (this.ctx.id.name ?? "durable_objects/").split("/", 1)[0];
    const housed = Object.keys(system).find(
      (name) => componentOf(system, name) === "ledger" && (system[name]?.["objects"] ?? "durable_objects") === objects,
    );
    if (housed === undefined) return null;
    const table = system[housed]!;
    const database = this.env[String(table["database"] ?? "d1")] as D1Database;
    return new LedgerCore(this.ctx, [new UsageTable(database), new Meters(this.env.USAGE_METER)], {
      policy: String(table["policy"] ?? "hardened"),
      flushIntervalMs: Number(table["flush_interval_s"] ?? 60) * 1_000,
      flushChunkRows: Number(table["flush_chunk_rows"] ?? 500),
    });
  }
}

/** Return the keys of the first rows, as many at once as one call takes. */
function calls(rows: number): string[][] {
  const keys = Array.from({ length: rows }, (_, position) => `row-${String(position).padStart(6, "0")}`);
  const starts = Array.from({ length: Math.ceil(rows / KEYS_PER_CALL_MAX) }, (_, n) => n * KEYS_PER_CALL_MAX);
  return starts.map((start) => keys.slice(start, start + KEYS_PER_CALL_MAX));
}

/** A Worker for the fidelity evidence: one object that sums a history and appends a row a request, and flushes all rows in one transaction.
 *
 * GET /floor answers at once. POST /append stores a row; some seconds after the first pending row, an alarm sums and
 * deletes all of them while nothing else is served (hazard H70). GET /flushes says when it did since it was last asked, in
 * ms after the first row, how many rows there were, and whether some wait for the next time.
 */

import { DurableObject } from "cloudflare:workers";

interface Env {
  DEPLOYMENT: { flush_interval_s: number };
  ROUTE_OBJECTS: DurableObjectNamespace;
}

/** Rows that a request reads: enough work that the object is saturated before the load generator is. */
const HISTORY_ROWS = 15_000;

/** As long as the link of an audit chain. */
const CHAIN = "0".repeat(64);

export class RouteObject extends DurableObject<Env> {
  private isAlarmSet = false;
  private firstMs = 0;
  private flushes: { at_ms: number; rows: number }[] = [];

  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, env);
    ctx.storage.sql.exec(
      "CREATE TABLE IF NOT EXISTS events (seq INTEGER PRIMARY KEY, event_id TEXT NOT NULL UNIQUE, " +
        "organization_id TEXT NOT NULL, chain TEXT NOT NULL, tokens INTEGER NOT NULL)",
    );
    ctx.storage.sql.exec("CREATE TABLE IF NOT EXISTS history (seq INTEGER PRIMARY KEY, tokens INTEGER NOT NULL)");
    ctx.storage.sql.exec(
      "WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < ?) " +
        "INSERT OR IGNORE INTO history SELECT n, n % 7 FROM numbers",
      HISTORY_ROWS,
    );
  }

  override async fetch(request: Request): Promise<Response> {
    if (request.method === "GET") return this.report();
    this.firstMs ||= Date.now();
    const { tokens } = this.ctx.storage.sql.exec("SELECT sum(tokens) AS tokens FROM history").one();
    this.ctx.storage.sql.exec(
      "INSERT INTO events (event_id, organization_id, chain, tokens) VALUES (?, 'org-7', ?, ?)",
      crypto.randomUUID(),
      CHAIN,
      Number(tokens),
    );
    if (!this.isAlarmSet) {
      this.isAlarmSet = true;
      await this.ctx.storage.setAlarm(Date.now() + this.env.DEPLOYMENT.flush_interval_s * 1_000);
    }
    return new Response("stored");
  }

  override async alarm(): Promise<void> {
    this.isAlarmSet = false;
    const atMs = Date.now() - this.firstMs;
    this.ctx.storage.transactionSync(() => {
      const { rows, last } = this.ctx.storage.sql.exec("SELECT count(*) AS rows, max(seq) AS last, sum(tokens) FROM events").one();
      // Without a condition SQLite would drop the table's pages, in no time.
      this.ctx.storage.sql.exec("DELETE FROM events WHERE seq <= ?", last!);
      this.flushes.push({ at_ms: atMs, rows: Number(rows) });
    });
  }

  private report(): Response {
    const { flushes } = this;
    this.flushes = [];
    this.firstMs = 0;
    return Response.json({ flushes, has_rows: this.isAlarmSet });
  }
}

export default {
  async fetch(request, env): Promise<Response> {
    const { pathname } = new URL(request.url);
    if (pathname !== "/append" && pathname !== "/flushes") return new Response("ok");
    const stub = env.ROUTE_OBJECTS.get(env.ROUTE_OBJECTS.idFromName("ledger"));
    const answer = await stub.fetch(`https://object${pathname}`, { method: request.method });
    return new Response(await answer.text(), { status: answer.status });
  },
} satisfies ExportedHandler<Env>;

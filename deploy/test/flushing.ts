/** A Worker for the fidelity evidence: one object that appends a row a request, and flushes all rows in one transaction.
 *
 * GET /floor answers at once. POST /append stores a row; some seconds after the first pending row, an alarm sums and
 * deletes all of them while nothing else is served (hazard H70).
 */

import { DurableObject } from "cloudflare:workers";

interface Env {
  DEPLOYMENT: { flush_interval_s: number };
  ROUTE_OBJECTS: DurableObjectNamespace;
}

export class RouteObject extends DurableObject<Env> {
  private isAlarmSet = false;

  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, env);
    ctx.storage.sql.exec("CREATE TABLE IF NOT EXISTS events (seq INTEGER PRIMARY KEY, tokens INTEGER NOT NULL)");
  }

  override async fetch(): Promise<Response> {
    this.ctx.storage.sql.exec("INSERT INTO events (tokens) VALUES (?)", 7);
    if (!this.isAlarmSet) {
      this.isAlarmSet = true;
      await this.ctx.storage.setAlarm(Date.now() + this.env.DEPLOYMENT.flush_interval_s * 1_000);
    }
    return new Response("stored");
  }

  override async alarm(): Promise<void> {
    this.isAlarmSet = false;
    this.ctx.storage.transactionSync(() => {
      this.ctx.storage.sql.exec("SELECT sum(tokens) FROM events").one();
      this.ctx.storage.sql.exec("DELETE FROM events");
    });
  }
}

export default {
  async fetch(request, env): Promise<Response> {
    const { pathname } = new URL(request.url);
    if (pathname !== "/append") return new Response("ok");
    const stub = env.ROUTE_OBJECTS.get(env.ROUTE_OBJECTS.idFromName("ledger"));
    const answer = await stub.fetch("https://object/append", { method: "POST" });
    return new Response(await answer.text(), { status: answer.status });
  },
} satisfies ExportedHandler<Env>;

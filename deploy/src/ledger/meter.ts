/** The meter of one organisation: stands for a payment provider's, and ignores an identifier that it knows. */

import { DurableObject } from "cloudflare:workers";
import { json } from "../messages.ts";
import type { MeterEvent } from "./sinks.ts";

export class UsageMeter extends DurableObject {
  constructor(state: DurableObjectState, env: unknown) {
    super(state, env as never);
    state.storage.sql.exec(
      "CREATE TABLE IF NOT EXISTS meter_events (identifier TEXT PRIMARY KEY, value_microusd INTEGER NOT NULL) WITHOUT ROWID",
    );
  }

  override async fetch(request: Request): Promise<Response> {
    const { sql } = this.ctx.storage;
    if (request.method === "POST") {
      const event = (await request.json()) as MeterEvent;
      const insert = "INSERT INTO meter_events VALUES (?, ?) ON CONFLICT DO NOTHING";
      sql.exec(insert, event.identifier, event.value_microusd);
    }
    const total = sql.exec("SELECT coalesce(sum(value_microusd), 0) AS total FROM meter_events").one()["total"];
    return json({ success: true, total_microusd: total });
  }
}

/** The billing ledger as the brief's Durable Object: one for each organisation. */

import { DurableObject } from "cloudflare:workers";
import type { Env } from "./env.ts";
import { DEFAULTS, LedgerCore } from "./ledger/core.ts";
import { Meters, UsageTable } from "./ledger/sinks.ts";
import { errorResponse } from "./messages.ts";

export class BillingLedger extends DurableObject<Env> {
  private readonly core: LedgerCore;

  constructor(state: DurableObjectState, env: Env) {
    super(state, env);
    this.core = new LedgerCore(state, [new UsageTable(env.DB), new Meters(env.USAGE_METER)], {
      policy: env.LEDGER_POLICY ?? DEFAULTS.policy,
      flushIntervalMs: Number(env.LEDGER_FLUSH_INTERVAL_S ?? DEFAULTS.flushIntervalMs / 1_000) * 1_000,
      flushChunkRows: Number(env.LEDGER_FLUSH_CHUNK_ROWS ?? DEFAULTS.flushChunkRows),
    });
  }

  override async fetch(request: Request): Promise<Response> {
    return this.core.fetch(request).catch(errorResponse);
  }

  override async alarm(): Promise<void> {
    await this.core.alarm();
  }
}

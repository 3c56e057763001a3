/** The billing ledger in an object: reads events, flushes to sinks, sets the object's alarm.
 *
 * A flush that fails because a sink did is tried again, later and later, until it succeeds: the alarm is set anew,
 * because the platform gives up an alarm whose handler failed seven times. While a sink is waited for, the object takes
 * other events; they wait for the next flush, so that a flush always ends.
 */

import { RequestError } from "../errors.ts";
import { json } from "../messages.ts";
import * as validation from "../validation.ts";
import { HardenedLedger } from "./hardened.ts";
import { type LedgerPolicy, usageEvent } from "./policy.ts";
import { SeedLedger } from "./seed.ts";
import type { UsageSink } from "./sinks.ts";

const FLUSH_RETRY_MS = 2_000;
const FLUSH_RETRY_MS_MAX = 256_000;

export interface LedgerSettings {
  policy: string;
  flushIntervalMs: number;
  flushChunkRows: number;
}

export const DEFAULTS: LedgerSettings = { policy: "hardened", flushIntervalMs: 60_000, flushChunkRows: 500 };

export class LedgerCore {
  private readonly policy: LedgerPolicy;
  private flushesFailed = 0;

  constructor(
    private readonly state: DurableObjectState,
    private readonly sinks: readonly UsageSink[],
    private readonly settings: LedgerSettings,
  ) {
    const { storage } = state;
    const isSeed = settings.policy === "seed";
    this.policy = isSeed ? new SeedLedger(storage) : new HardenedLedger(storage, state.id.toString());
  }

  async fetch(request: Request): Promise<Response> {
    const url = new URL(request.url);
    if (url.pathname === "/log") return this.log(await request.bytes());
    if (url.pathname === "/balance") return this.balance(url.searchParams.get("organization_id"));
    if (url.pathname === "/flush") return json({ success: true, events_flushed: await this.flush() });
    throw new RequestError(404, "not_found", `the ledger has no route ${JSON.stringify(url.pathname.slice(0, 80))}`);
  }

  async alarm(): Promise<void> {
    try {
      await this.flush();
      this.flushesFailed = 0;
    } catch (error) {
      console.log("a flush failed and will be tried again:", error);
      const delayMs = Math.min(FLUSH_RETRY_MS * 2 ** this.flushesFailed++, FLUSH_RETRY_MS_MAX);
      await this.state.storage.setAlarm(Date.now() + delayMs);
    }
  }

  private async log(body: Uint8Array): Promise<Response> {
    const receipt = this.policy.append(usageEvent(body), Date.now());
    if (this.policy.flushesItself && (await this.state.storage.getAlarm()) === null) {
      await this.state.storage.setAlarm(Date.now() + this.settings.flushIntervalMs);
    }
    return json({ success: true, ...receipt });
  }

  private balance(organizationId: string | null): Response {
    return json({ success: true, ...this.policy.balance(validation.name("organization_id", organizationId)) });
  }

  private async flush(): Promise<number> {
    const upToSeq = this.policy.lastSeq();
    let flushed = 0;
    for (;;) {
      const batch = this.policy.seal(upToSeq, this.settings.flushChunkRows);
      if (batch === null) return flushed;
      for (const sink of this.sinks) await sink.store(batch);
      flushed += this.policy.settle(batch);
    }
  }
}

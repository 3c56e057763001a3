/** The ledger as the brief's code writes it: one growing value, dollars in floating point. Never to be deployed.
 *
 * Every append reads and rewrites the whole log until it meets the platform's limit on a value; an event that arrives
 * twice is charged twice; a flush sends the balance, then sets it to zero, so that what was added meanwhile is lost; the
 * row's name holds the time, so that a repeated flush is a second row; nothing bounds what an account owes (docs/HAZARDS.md,
 * H1 to H11 and H69).
 */

import { exactNanousd } from "./charge.ts";
import { checkDate, type Balance, type Batch, type LedgerPolicy } from "./policy.ts";
import type { Receipt, UsageEvent } from "./policy.ts";

const NANOUSD_PER_USD = 1_000_000_000;
const MICROUSD_PER_USD = 1_000_000;
const BALANCE_KEY = "unbilledBalance";
const LOG_KEY = "usageLog";

interface Entry {
  eventId: string;
  organizationId: string;
  userId: string;
  model: string;
  tokensIn: number;
  tokensOut: number;
  timestamp: number;
}

export class SeedLedger implements LedgerPolicy {
  readonly flushesItself = false;

  constructor(private readonly storage: DurableObjectStorage) {}

  append(event: UsageEvent, receivedMs: number): Receipt {
    checkDate(event.usage.event_time_ms, receivedMs);
    const usd = exactNanousd(event.usage, "managed") / NANOUSD_PER_USD;
    const { usage } = event;
    const entry = {
      eventId: event.event_id,
      organizationId: event.organization_id,
      userId: event.user_id,
      model: usage.model,
      tokensIn: usage.tokens_in,
      tokensOut: usage.tokens_out,
      timestamp: receivedMs,
    };
    const owed = this.storage.transactionSync(() => {
      const sum = this.balanceUsd() + usd;
      this.storage.kv.put(BALANCE_KEY, sum);
      this.storage.kv.put(LOG_KEY, [...this.log(), entry]);
      return sum;
    });
    return { charge_microusd: rounded(usd), balance_microusd: rounded(owed), duplicate: false };
  }

  balance(_organizationId: string): Balance {
    return { balance_microusd: rounded(this.balanceUsd()), events_pending: this.log().length };
  }

  lastSeq(): number {
    return this.log().length;
  }

  /** Return one row for the whole balance, named after the moment of the flush. */
  seal(_upToSeq: number, _limit: number): Batch | null {
    const owedUsd = this.balanceUsd();
    const log = this.log();
    const last = log.at(-1);
    if (!owedUsd || !last) return null;
    const nowMs = Date.now();
    const row = {
      seq: log.length,
      id: `${last.userId}-${nowMs}`,
      user_id: last.userId,
      organization_id: last.organizationId,
      event_type: "invoice",
      tokens: log.reduce((sum, entry) => sum + entry.tokensIn + entry.tokensOut, 0),
      cost_cents: Math.round(owedUsd * 100),
      model: last.model,
      created_at_ms: nowMs,
      charge_microusd: rounded(owedUsd),
    };
    return { id: row.id, rows: [row] };
  }

  settle(_batch: Batch): number {
    this.storage.kv.put(BALANCE_KEY, 0);
    return this.log().length;
  }

  private balanceUsd(): number {
    return this.storage.kv.get<number>(BALANCE_KEY) ?? 0;
  }

  private log(): Entry[] {
    return this.storage.kv.get<Entry[]>(LOG_KEY) ?? [];
  }
}

function rounded(usd: number): number {
  return Math.round(usd * MICROUSD_PER_USD);
}

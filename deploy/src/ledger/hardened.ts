/** The ledger to deploy: one row an event, whole micro-dollars, and every event counted once.
 *
 * - An event's name is unique within its organisation; the same event again answers the first receipt.
 * - The event, its charge, its link in the audit chain and the account change in one transaction, or none does.
 * - The event table is its own outbox: rows up to settled_seq are flushed. A flush first seals the next rows as a batch,
 *   whose content and name are fixed from then on. Settling a batch that is settled changes nothing.
 */

import { RequestError } from "../errors.ts";
import { sha256Hex } from "../hashing.ts";
import { type Account, NEW_ACCOUNT, charge, monthOf } from "./charge.ts";
import { checkDate, type Balance, type Batch, type LedgerPolicy } from "./policy.ts";
import type { Receipt, UsageEvent, UsageRow } from "./policy.ts";

export const GENESIS = "0".repeat(64);

const SCHEMA = `
CREATE TABLE IF NOT EXISTS events (
  seq INTEGER PRIMARY KEY,
  organization_id TEXT NOT NULL,
  event_id TEXT NOT NULL,
  user_id TEXT NOT NULL,
  model TEXT NOT NULL,
  tokens_in INTEGER NOT NULL,
  tokens_out INTEGER NOT NULL,
  event_time_ms INTEGER NOT NULL,
  received_ms INTEGER NOT NULL,
  charge_microusd INTEGER NOT NULL,
  owed_microusd INTEGER NOT NULL,
  cost_cents INTEGER NOT NULL,
  chain TEXT NOT NULL,
  UNIQUE (organization_id, event_id)
);
CREATE TABLE IF NOT EXISTS accounts (
  organization_id TEXT PRIMARY KEY,
  tier TEXT NOT NULL,
  pending_microusd INTEGER NOT NULL,
  pending_events INTEGER NOT NULL,
  credits_microusd INTEGER NOT NULL,
  ceiling_microusd INTEGER NOT NULL,
  free_limit_microusd INTEGER NOT NULL,
  carry_nanousd INTEGER NOT NULL,
  carry_microusd INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS free_months (
  organization_id TEXT,
  month INTEGER,
  used_microusd INTEGER NOT NULL,
  PRIMARY KEY (organization_id, month)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS outbox (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  settled_seq INTEGER NOT NULL,
  sealed_seq INTEGER NOT NULL
);
INSERT OR IGNORE INTO outbox VALUES (1, 0, 0);
`;
const ACCOUNT_COLUMNS = [
  "tier",
  "pending_microusd",
  "pending_events",
  "credits_microusd",
  "ceiling_microusd",
  "free_limit_microusd",
  "carry_nanousd",
  "carry_microusd",
] as const;
export const READ_ACCOUNT = `SELECT ${ACCOUNT_COLUMNS.join(", ")} FROM accounts WHERE organization_id = ?`;
const WRITE_ACCOUNT =
  `INSERT OR REPLACE INTO accounts (organization_id, ${ACCOUNT_COLUMNS.join(", ")}) ` +
  "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)";
const READ_EARLIER =
  "SELECT charge_microusd, user_id, model, tokens_in, tokens_out, event_time_ms " +
  "FROM events WHERE organization_id = ? AND event_id = ?";
const ENTRY_COLUMNS =
  "seq, organization_id, event_id, user_id, model, tokens_in, tokens_out, event_time_ms, received_ms, " +
  "charge_microusd, owed_microusd, cost_cents";
const WRITE_EVENT = `INSERT INTO events (${ENTRY_COLUMNS}, chain) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`;
const READ_HEAD = "SELECT seq, chain FROM events ORDER BY seq DESC LIMIT 1";
// A slash stands in no name, so that no two pairs of names give one id.
const READ_BATCH =
  "SELECT seq, organization_id || '/' || event_id AS id, user_id, organization_id, 'inference' AS event_type, " +
  "tokens_in + tokens_out AS tokens, cost_cents, model, event_time_ms AS created_at_ms, " +
  "owed_microusd AS charge_microusd FROM events WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT ?";
const READ_OWED =
  "SELECT sum(owed_microusd) AS owed, count(*) AS events, organization_id FROM events " +
  "WHERE seq > ? AND seq <= ? GROUP BY organization_id";
const SETTLE_ACCOUNT =
  "UPDATE accounts SET pending_microusd = pending_microusd - ?, pending_events = pending_events - ? " +
  "WHERE organization_id = ?";

type Row = Record<string, SqlStorageValue>;
type Content = [string, ...(string | number)[]];

export class HardenedLedger implements LedgerPolicy {
  readonly flushesItself = true;

  constructor(
    private readonly storage: DurableObjectStorage,
    private readonly ledgerId: string,
  ) {
    storage.sql.exec(SCHEMA);
  }

  append(event: UsageEvent, receivedMs: number): Receipt {
    return this.storage.transactionSync(() => {
      const { organization_id: organizationId, usage } = event;
      let account = this.account(organizationId);
      const earlier = this.earlier(event, account);
      if (earlier) return earlier;
      // After the look for an earlier delivery: what was accepted once is answered again, however late.
      checkDate(usage.event_time_ms, receivedMs);
      if (account.tier === "free") account = this.withMonth(organizationId, account, monthOf(usage.event_time_ms));
      const [price, after] = charge(usage, account);
      this.writeAccount(organizationId, after);
      const head = this.rows(READ_HEAD)[0];
      const [lastSeq, chain] = head ? [Number(head["seq"]), String(head["chain"])] : [0, GENESIS];
      const entry = [
        lastSeq + 1,
        organizationId,
        event.event_id,
        event.user_id,
        usage.model,
        usage.tokens_in,
        usage.tokens_out,
        usage.event_time_ms,
        receivedMs,
        price.charge_microusd,
        price.owed_microusd,
        price.cost_cents,
      ];
      this.rows(WRITE_EVENT, ...entry, link(chain, entry));
      const { charge_microusd } = price;
      return { charge_microusd, balance_microusd: after.pending_microusd, duplicate: false };
    });
  }

  balance(organizationId: string): Balance {
    const account = this.account(organizationId);
    return { balance_microusd: account.pending_microusd, events_pending: account.pending_events };
  }

  lastSeq(): number {
    return Number(this.rows("SELECT coalesce(max(seq), 0) AS seq FROM events")[0]!["seq"]);
  }

  seal(upToSeq: number, limit: number): Batch | null {
    return this.storage.transactionSync(() => {
      const [settled, sealed] = this.outbox();
      const isNew = sealed === settled;
      if (isNew && settled >= upToSeq) return null;
      const bounds = isNew ? [settled, upToSeq, limit] : [settled, sealed, sealed - settled];
      const rows = this.rows(READ_BATCH, ...bounds) as unknown as UsageRow[];
      if (rows.length === 0) return null;
      const last = rows.at(-1)!.seq;
      if (isNew) this.rows("UPDATE outbox SET sealed_seq = ?", last);
      return { id: `${this.ledgerId}/${rows[0]!.seq}-${last}`, rows };
    });
  }

  settle(batch: Batch): number {
    return this.storage.transactionSync(() => {
      const [settled, sealed] = this.outbox();
      if (sealed === settled || sealed !== batch.rows.at(-1)!.seq) return 0;
      for (const owed of this.rows(READ_OWED, settled, sealed)) {
        this.rows(SETTLE_ACCOUNT, owed["owed"]!, owed["events"]!, owed["organization_id"]!);
      }
      this.rows("UPDATE outbox SET settled_seq = sealed_seq");
      return sealed - settled;
    });
  }

  /** Check the whole audit chain; return the number of the first event that does not fit, if any. */
  firstBrokenSeq(): number | null {
    let previous = GENESIS;
    for (const row of this.storage.sql.exec(`SELECT ${ENTRY_COLUMNS}, chain FROM events ORDER BY seq`).raw()) {
      const entry = row.slice(0, -1) as Content;
      previous = link(previous, entry);
      if (previous !== row.at(-1)) return Number(entry[0]);
    }
    return null;
  }

  private account(organizationId: string): Account {
    const row = this.rows(READ_ACCOUNT, organizationId)[0];
    return row ? { ...NEW_ACCOUNT, ...(row as unknown as Account) } : NEW_ACCOUNT;
  }

  private earlier(event: UsageEvent, account: Account): Receipt | null {
    const row = this.rows(READ_EARLIER, event.organization_id, event.event_id)[0];
    if (!row) return null;
    const { usage } = event;
    const isSame =
      row["user_id"] === event.user_id &&
      row["model"] === usage.model &&
      row["tokens_in"] === usage.tokens_in &&
      row["tokens_out"] === usage.tokens_out &&
      row["event_time_ms"] === usage.event_time_ms;
    if (!isSame) {
      const rule = "already names another event; give each event its own";
      throw new RequestError(409, "event_id_reused", `event_id=${event.event_id} ${rule}`);
    }
    const charged = Number(row["charge_microusd"]);
    return { charge_microusd: charged, balance_microusd: account.pending_microusd, duplicate: true };
  }

  private withMonth(organizationId: string, account: Account, month: number): Account {
    const query = "SELECT used_microusd FROM free_months WHERE organization_id = ? AND month = ?";
    const row = this.rows(query, organizationId, month)[0];
    return { ...account, free_month: month, free_used_microusd: Number(row?.["used_microusd"] ?? 0) };
  }

  private writeAccount(organizationId: string, account: Account): void {
    this.rows(WRITE_ACCOUNT, organizationId, ...ACCOUNT_COLUMNS.map((column) => account[column]));
    if (account.tier === "free" && account.free_month) {
      const used = [organizationId, account.free_month, account.free_used_microusd];
      this.rows("INSERT OR REPLACE INTO free_months VALUES (?, ?, ?)", ...used);
    }
  }

  private outbox(): [number, number] {
    const row = this.rows("SELECT settled_seq, sealed_seq FROM outbox")[0]!;
    return [Number(row["settled_seq"]), Number(row["sealed_seq"])];
  }

  private rows(sql: string, ...params: SqlStorageValue[]): Row[] {
    return this.storage.sql.exec(sql, ...params).toArray();
  }
}

/** Return the link of an entry of the audit chain after the link before it. */
export function link(previous: string, entry: readonly (string | number)[]): string {
  return sha256Hex(JSON.stringify([previous, ...entry]));
}

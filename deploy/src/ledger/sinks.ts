/** Where a ledger flushes to: D1's usage_events, and the meter that invoices are made from. */

import type { Batch, UsageRow } from "./policy.ts";

const BOUND_PARAMS_MAX = 100;
const IGNORE = "ON CONFLICT DO NOTHING";
const USAGE_INSERT =
  "INSERT INTO usage_events (id, user_id, organization_id, event_type, tokens, cost_cents, model, " +
  "created_at, charge_microusd)";

/** What takes a batch; what it was given before it does not take again. */
export interface UsageSink {
  store(batch: Batch): Promise<void>;
}

/** What one organisation used in one batch; identifier is its name, whenever it is sent. */
export interface MeterEvent {
  identifier: string;
  organization_id: string;
  value_microusd: number;
}

export class UsageTable implements UsageSink {
  constructor(private readonly database: D1Database) {}

  /** Store the rows in one transaction; D1 ignores those that it has. */
  async store({ rows }: Batch): Promise<void> {
    const users = [...new Set(rows.map((row) => row.user_id))].sort();
    const organizations = [...new Set(rows.map((row) => row.organization_id))].sort();
    const userRows = users.map((user) => [user, `${user}@invalid`]);
    const organizationRows = organizations.map((name) => [name, name, name]);
    await this.database.batch([
      ...insertRows(this.database, "INSERT INTO users (id, email)", userRows, IGNORE),
      ...insertRows(this.database, "INSERT INTO organizations (id, name, slug)", organizationRows, IGNORE),
      ...insertRows(this.database, USAGE_INSERT, rows.map(usageValues), IGNORE),
    ]);
  }
}

/** The meter, kept in one object an organisation. */
export class Meters implements UsageSink {
  constructor(private readonly namespace: DurableObjectNamespace) {}

  async store(batch: Batch): Promise<void> {
    await Promise.all(
      meterEvents(batch).map(async (event) => {
        const stub = this.namespace.get(this.namespace.idFromName(event.organization_id));
        const answer = await stub.fetch("https://meter/events", { method: "POST", body: JSON.stringify(event) });
        if (!answer.ok) throw new Error(`the meter refused a batch with status ${answer.status}`);
      }),
    );
  }
}

export function meterEvents(batch: Batch): MeterEvent[] {
  const sums = new Map<string, number>();
  for (const row of batch.rows) {
    sums.set(row.organization_id, (sums.get(row.organization_id) ?? 0) + row.charge_microusd);
  }
  return [...sums].map(([organization_id, value_microusd]) => {
    return { identifier: `${batch.id}/${organization_id}`, organization_id, value_microusd };
  });
}

/** Cut one insert of many rows into statements that the platform takes: at most 100 bound parameters each. */
export function insertRows(
  database: D1Database,
  head: string,
  rows: readonly (readonly unknown[])[],
  tail: string,
): D1PreparedStatement[] {
  const width = rows[0]?.length ?? 1;
  const rowsMax = Math.floor(BOUND_PARAMS_MAX / width);
  const statements = [];
  for (let start = 0; start < rows.length; start += rowsMax) {
    const part = rows.slice(start, start + rowsMax);
    const marks = part.map(() => `(${Array.from({ length: width }, () => "?").join(", ")})`).join(", ");
    statements.push(database.prepare(`${head} VALUES ${marks} ${tail}`).bind(...part.flat()));
  }
  return statements;
}

function usageValues(row: UsageRow): unknown[] {
  return [
    row.id,
    row.user_id,
    row.organization_id,
    row.event_type,
    row.tokens,
    row.cost_cents,
    row.model,
    dateText(row.created_at_ms),
    row.charge_microusd,
  ];
}

/** Return a date as D1 keeps it, with the milliseconds that its own default leaves out. */
export function dateText(unixMs: number): string {
  return new Date(unixMs).toISOString().replace("T", " ").replace("Z", "");
}

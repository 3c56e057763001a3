/** The cron job: flush ledgers whose own alarm did not, a few at a time.
 *
 * A hardened ledger flushes itself; the platform gives up an alarm that failed too often, and the seed policy has none. A
 * run of the cron may make only so many calls, so each run takes the next organisations in turn.
 */

import type { Env } from "./env.ts";
import { askLedger } from "./worker.ts";

export const ORGANIZATIONS_PER_RUN = 40;
const INTERVAL_MS = 300_000;

/** Flush the ledgers of the organisations whose turn it is; return how many there were. */
export async function sweep(env: Env, scheduledMs: number): Promise<number> {
  const count = await env.DB.prepare("SELECT count(*) AS n FROM organizations").first<number>("n");
  const pages = Math.max(1, Math.ceil((count ?? 0) / ORGANIZATIONS_PER_RUN));
  const page = Math.floor(scheduledMs / INTERVAL_MS) % pages;
  const query = "SELECT id FROM organizations ORDER BY id LIMIT ? OFFSET ?";
  const { results } = await env.DB.prepare(query)
    .bind(ORGANIZATIONS_PER_RUN, page * ORGANIZATIONS_PER_RUN)
    .all<{ id: string }>();
  const flushed = await Promise.allSettled(
    results.map(({ id }) => askLedger(env, id, `/flush?organization_id=${id}`, { method: "POST" })),
  );
  for (const one of flushed) if (one.status === "rejected") console.log("a sweep's flush failed:", one.reason);
  return results.length;
}

/** The price of one event: tokens in, whole micro-dollars out, and nothing lost on the way.
 *
 * A charge is exact in whole nano-dollars; what does not fill a micro-dollar is carried to the account's next event. All
 * sums stay far below 2^53. The rule, in this order: cost of the tokens; the tier's markup; the free tier's monthly limit
 * (402); credits; the ceiling on what an account may owe (402); the rest is owed.
 */

import { RequestError } from "../errors.ts";

const MICROUSD_PER_CENT = 10_000;

/** List price of a token in and of a token out, in micro-dollars. */
export const PRICES: Record<string, readonly [number, number]> = {
  sonnet: [3, 15],
  opus: [15, 75],
  "gpt-4-turbo": [10, 30],
};
const MARKUP_PERCENT: Record<string, number> = { free: 0, managed: 3, byok: 30 };

export interface Usage {
  model: string;
  tokens_in: number;
  tokens_out: number;
  event_time_ms: number;
}

export interface Account {
  tier: string;
  pending_microusd: number;
  pending_events: number;
  credits_microusd: number;
  ceiling_microusd: number;
  free_limit_microusd: number;
  carry_nanousd: number;
  carry_microusd: number;
  free_month: number;
  free_used_microusd: number;
}

export const NEW_ACCOUNT: Account = {
  tier: "managed",
  pending_microusd: 0,
  pending_events: 0,
  credits_microusd: 0,
  ceiling_microusd: 10_000 * MICROUSD_PER_CENT,
  free_limit_microusd: 500 * MICROUSD_PER_CENT,
  carry_nanousd: 0,
  carry_microusd: 0,
  free_month: 0,
  free_used_microusd: 0,
};

export interface Charge {
  charge_microusd: number;
  owed_microusd: number;
  cost_cents: number;
}

/** Return the exact charge of some usage in nano-dollars. */
export function exactNanousd(usage: Usage, tier: string): number {
  const [priceIn, priceOut] = PRICES[usage.model]!;
  return (usage.tokens_in * priceIn + usage.tokens_out * priceOut) * (100 + MARKUP_PERCENT[tier]!) * 10;
}

/** Return the charge of some usage and the account after it; throws 402 with the account as before. */
export function charge(usage: Usage, account: Account): [Charge, Account] {
  const exact = exactNanousd(usage, account.tier) + account.carry_nanousd;
  const [whole, carry] = [Math.floor(exact / 1_000), exact % 1_000];
  const [month, freeUsed] = freeMonth(usage, account, whole);
  const credit = Math.min(account.credits_microusd, whole);
  const owed = whole - credit;
  const pending = account.pending_microusd + owed;
  if (pending > account.ceiling_microusd) {
    const rule = `is over the ceiling of ${account.ceiling_microusd}; wait for the next flush or raise the ceiling`;
    throw new RequestError(402, "credit_ceiling_exceeded", `a balance of ${pending} microusd ${rule}`);
  }
  const cents = owed + account.carry_microusd;
  const after = {
    ...account,
    pending_microusd: pending,
    pending_events: account.pending_events + 1,
    credits_microusd: account.credits_microusd - credit,
    carry_nanousd: carry,
    carry_microusd: cents % MICROUSD_PER_CENT,
    free_month: month,
    free_used_microusd: freeUsed,
  };
  const price = { charge_microusd: whole, owed_microusd: owed, cost_cents: Math.floor(cents / MICROUSD_PER_CENT) };
  return [price, after];
}

function freeMonth(usage: Usage, account: Account, wholeMicrousd: number): [number, number] {
  if (account.tier !== "free") return [account.free_month, account.free_used_microusd];
  const month = monthOf(usage.event_time_ms);
  const used = wholeMicrousd + (month === account.free_month ? account.free_used_microusd : 0);
  if (used > account.free_limit_microusd) {
    const rule = `is over the free limit of ${account.free_limit_microusd}; choose the managed tier`;
    throw new RequestError(402, "free_limit_exceeded", `${used} microusd in one month ${rule}`);
  }
  return [month, used];
}

/** Return the calendar month (UTC) of a date as year * 12 + month. */
export function monthOf(unixMs: number): number {
  const date = new Date(unixMs);
  return date.getUTCFullYear() * 12 + date.getUTCMonth() + 1;
}

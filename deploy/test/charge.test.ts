/** Charges: exact over any number of events, and refused before anything changes. */

import { expect, test } from "vitest";
import { type Account, NEW_ACCOUNT, PRICES, charge, exactNanousd, monthOf } from "../src/ledger/charge.ts";
import { dateText, meterEvents } from "../src/ledger/sinks.ts";
import { randomNumbers } from "./support.ts";

function usage(random: () => number) {
  const models = Object.keys(PRICES);
  const model = models[Math.floor(random() * models.length)]!;
  const tokens = (): number => Math.floor(random() ** 3 * 20_000);
  return { model, tokens_in: tokens(), tokens_out: tokens(), event_time_ms: 1_795_000_000_000 };
}

test.each(["managed", "byok", "free"])("charges of %s add up to the exact sum rounded down once", (tier) => {
  const random = randomNumbers(1);
  let account: Account = { ...NEW_ACCOUNT, tier, ceiling_microusd: 1e15, free_limit_microusd: 1e15 };
  let [sum, cents, exact] = [0, 0, 0n];
  for (let n = 0; n < 2_000; n++) {
    const one = usage(random);
    const [price, after] = charge(one, account);
    sum += price.charge_microusd;
    cents += price.cost_cents;
    exact += BigInt(exactNanousd(one, tier));
    account = after;
  }
  expect(BigInt(sum)).toBe(exact / 1_000n);
  expect(BigInt(cents)).toBe(exact / 10_000_000n);
  expect(account.pending_microusd).toBe(sum);
});

test("credits are spent before anything is owed", () => {
  const one = { model: "sonnet", tokens_in: 278, tokens_out: 218, event_time_ms: 0 };
  const [price, after] = charge(one, { ...NEW_ACCOUNT, credits_microusd: 4_000 });
  expect(price).toEqual({ charge_microusd: 4_227, owed_microusd: 227, cost_cents: 0 });
  expect([after.credits_microusd, after.pending_microusd, after.carry_nanousd]).toEqual([0, 227, 120]);
});

test("the ceiling and the free limit are met with 402", () => {
  const huge = { model: "opus", tokens_in: 0, tokens_out: 10_000_000, event_time_ms: 0 };
  expect(() => charge(huge, NEW_ACCOUNT)).toThrow(expect.objectContaining({ status: 402 }));
  expect(() => charge(huge, { ...NEW_ACCOUNT, tier: "free" })).toThrow(
    expect.objectContaining({ code: "free_limit_exceeded" }),
  );
});

test("months and dates are those of UTC", () => {
  expect(monthOf(Date.UTC(2026, 10, 30, 23, 59))).toBe(2026 * 12 + 11);
  expect(dateText(1_795_000_000_007)).toBe("2026-11-18 11:06:40.007");
});

test("a batch is one meter event an organisation", () => {
  const row = (organization_id: string, charge_microusd: number) => ({
    seq: 1,
    id: "x",
    user_id: "u",
    organization_id,
    event_type: "inference",
    tokens: 1,
    cost_cents: 0,
    model: "sonnet",
    created_at_ms: 0,
    charge_microusd,
  });
  const events = meterEvents({ id: "b/1-3", rows: [row("a", 1), row("b", 2), row("a", 3)] });
  expect(events).toEqual([
    { identifier: "b/1-3/a", organization_id: "a", value_microusd: 4 },
    { identifier: "b/1-3/b", organization_id: "b", value_microusd: 2 },
  ]);
});

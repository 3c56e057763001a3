/** What a ledger keeps, and what every way of keeping it offers: plain synchronous code over one object's storage. */

import { refuse, jsonObject, knownFields, name, wholeNumber } from "../validation.ts";
import { PRICES, type Usage } from "./charge.ts";

const TOKENS_MAX = 10_000_000;
/** The year 2100: a later date is a unit mistaken. */
const DATE_MS_MAX = 4_102_444_800_000;
const DAY_MS = 86_400_000;
const DATE_BACK_MS_MAX = 35 * DAY_MS;
const DATE_AHEAD_MS_MAX = 5 * 60_000;
const NAMES = ["event_id", "organization_id", "user_id", "model"] as const;
const NUMBERS = { tokens_in: TOKENS_MAX, tokens_out: TOKENS_MAX, event_time_ms: DATE_MS_MAX };

export interface UsageEvent {
  event_id: string;
  organization_id: string;
  user_id: string;
  usage: Usage;
}

export interface Receipt {
  charge_microusd: number;
  balance_microusd: number;
  duplicate: boolean;
}

export interface Balance {
  balance_microusd: number;
  events_pending: number;
}

/** One row of D1's usage_events on its way there; seq is its number in the ledger. */
export interface UsageRow {
  seq: number;
  id: string;
  user_id: string;
  organization_id: string;
  event_type: string;
  tokens: number;
  cost_cents: number;
  model: string;
  created_at_ms: number;
  charge_microusd: number;
}

/** Rows that are flushed together, under a name that is the same whenever the same rows are sent again. */
export interface Batch {
  id: string;
  rows: UsageRow[];
}

export interface LedgerPolicy {
  /** Whether an alarm flushes; otherwise only POST /flush does. */
  readonly flushesItself: boolean;
  append(event: UsageEvent, receivedMs: number): Receipt;
  balance(organizationId: string): Balance;
  lastSeq(): number;
  /** Return the oldest unflushed rows; a batch that is on its way is returned again as it was. */
  seal(upToSeq: number, limit: number): Batch | null;
  /** Take a batch, which every sink has stored, off what is owed; return how many events that was. */
  settle(batch: Batch): number;
}

/** Read the body of POST /log; every field is checked. */
export function usageEvent(body: Uint8Array | string): UsageEvent {
  const fields = jsonObject(body);
  knownFields(fields, [...NAMES, ...Object.keys(NUMBERS)]);
  const [eventId, organizationId, userId, model] = NAMES.map((key) => name(key, fields[key])) as [
    string,
    string,
    string,
    string,
  ];
  if (!Object.hasOwn(PRICES, model)) refuse("model", model, `must be one of ${Object.keys(PRICES).join(", ")}`);
  const [tokensIn, tokensOut, eventTimeMs] = Object.entries(NUMBERS).map(([key, atMost]) =>
    wholeNumber(key, fields[key], atMost),
  ) as [number, number, number];
  const usage = { model, tokens_in: tokensIn, tokens_out: tokensOut, event_time_ms: eventTimeMs };
  return { event_id: eventId, organization_id: organizationId, user_id: userId, usage };
}

/** Refuse an event whose date is too far from the time of its receipt: what the payment provider's meter refuses. */
export function checkDate(eventTimeMs: number, receivedMs: number): void {
  if (receivedMs - DATE_BACK_MS_MAX <= eventTimeMs && eventTimeMs <= receivedMs + DATE_AHEAD_MS_MAX) return;
  const rule = "must be milliseconds since 1970, at most 35 days before and 5 minutes after now";
  refuse("event_time_ms", eventTimeMs, `${rule} (${receivedMs})`);
}

/** Return the dates that an event which is sent now may have, for whoever asks beforehand. */
export function dateBounds(nowMs: number): { minimum: number; maximum: number } {
  return { minimum: nowMs - DATE_BACK_MS_MAX + DATE_AHEAD_MS_MAX, maximum: nowMs };
}

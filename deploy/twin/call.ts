/** Whom a request is about: headers that a load driver sends, and what stands in for them when they are missing. */

import { RequestError } from "../src/errors.ts";
import { crc32 } from "../src/hashing.ts";
import * as validation from "../src/validation.ts";
import type { Found } from "./routes.ts";
import type { Spent } from "./spent.ts";

const SIZE_BYTES_MAX = 100_000_000;
const RUN_CHARACTERS_MAX = 40;
/** A database binding takes no whole number beyond what a double holds exactly. */
const NUMBER_MAX = Number.MAX_SAFE_INTEGER;

/** One request for one operation of an instance. */
export interface Call {
  route: string;
  key: number;
  sizeBytes: number;
  objectIndex: number;
  requestIndex: number;
  requestId: string;
  prepares: boolean;
  body: Uint8Array;
  spent: Spent;
  stepIndex: number;
  repetitionIndex: number;
  parameters: Record<string, number>;
}

let unnumbered = 0;

/** Return the call that the steps of a route begin with. */
export function readCall(found: Found, headers: Headers, body: Uint8Array, spent: Spent): Call {
  const number = whole(headers, "headroom-request");
  const requestIndex = number ?? unnumbered++;
  const prepares = headers.get("headroom-prepare") === "1";
  const requestId = number === null ? `at-${Date.now()}-${requestIndex}` : `${run(headers)}${number}`;
  const hasObject = headers.get("headroom-object") !== "-1";
  return {
    route: found.route.name,
    key: whole(headers, "headroom-key") ?? keyOf(found),
    sizeBytes: whole(headers, "headroom-size-bytes", SIZE_BYTES_MAX) ?? 0,
    objectIndex: (hasObject ? whole(headers, "headroom-object") : null) ?? requestIndex,
    requestIndex,
    requestId: prepares ? `prepare-${requestId}` : requestId,
    prepares,
    body,
    spent,
    stepIndex: 0,
    repetitionIndex: 0,
    parameters: {},
  };
}

function whole(headers: Headers, name: string, atMost = NUMBER_MAX): number | null {
  const digits = headers.get(name);
  return digits === null ? null : validation.wholeNumberText(name, digits, atMost);
}

function run(headers: Headers): string {
  const text = headers.get("headroom-run");
  if (text === null) return "";
  const name = validation.name("headroom-run", text);
  if (name.length > RUN_CHARACTERS_MAX) {
    const rule = `must be at most ${RUN_CHARACTERS_MAX} characters`;
    throw new RequestError(400, "bad_field", `headroom-run=${name} ${rule}`);
  }
  return `${name}-`;
}

/** Return the key that a path is about: the whole number in place of {key}, or a hash of all placeholders. */
function keyOf(found: Found): number {
  const key = found.values[found.route.names.indexOf("key")] ?? "";
  return /^[0-9]{1,15}$/.test(key) ? Number(key) : crc32(found.values.join("/"));
}

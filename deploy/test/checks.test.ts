/** What a client sends: bodies, keys, conditions. */

import { createHash } from "node:crypto";
import { expect, test } from "vitest";
import { Gatekeeper } from "../src/access.ts";
import { failedPrecondition, parseDate, wantedRange } from "../src/conditions.ts";
import { asHttpError } from "../src/errors.ts";
import { usageEvent } from "../src/ledger/policy.ts";
import { objectName } from "../src/sharding.ts";
import { jsonObject, text, wholeNumber } from "../src/validation.ts";
import { checkMethod } from "../src/methods.ts";

test.each(['{"a":1,"a":2}', '{"a":{"b":1,"c":2,"b":3}}', '{"a":1,"\\u0061":2}', "[]", "null", "NaN", "{", ""])(
  "%s is no body",
  (body) => {
    expect(() => jsonObject(body)).toThrow(expect.objectContaining({ code: "bad_json", status: 400 }));
  },
);

test.each(['{"a":{"x":1},"b":{"x":1}}', '{"a":[{"x":1},{"x":1}]}', '{"a":"a\\":1,\\"a","b":"}{"}'])(
  "%s is a body",
  (body) => {
    expect(jsonObject(body)).toEqual(JSON.parse(body));
  },
);

test("half of a surrogate pair, blanks and too much are no text", () => {
  for (const bad of ["\ud800", " \u2003\n", "", "x".repeat(11), 5]) expect(() => text("prompt", bad, 10)).toThrow();
  expect(text("prompt", "😀".repeat(10), 10)).toHaveLength(20);
});

test("whole numbers are whole", () => {
  for (const bad of [1.5, "1", true, null, -1, 11, Infinity]) expect(() => wholeNumber("n", bad, 10)).toThrow();
  expect(Object.is(wholeNumber("n", -0, 10), 0)).toBe(true);
});

test("a model that every object has as a property is unknown", () => {
  const event = { event_id: "e", organization_id: "o", user_id: "u", tokens_in: 1, tokens_out: 1, event_time_ms: 1 };
  expect(() => usageEvent(JSON.stringify({ ...event, model: "constructor" }))).toThrow("model=");
});

function request(key?: string): Request {
  return new Request("https://x/", key === undefined ? {} : { headers: { authorization: `Bearer ${key}` } });
}

test("a key opens what it has the scope and the organisation for", () => {
  const key_sha256 = createHash("sha256").update("si_a").digest("hex");
  const keeper = new Gatekeeper(JSON.stringify([{ key_sha256, organization_id: "org-1", scopes: ["write"] }]));
  keeper.check(request("si_a"), "write");
  keeper.checkOrganization(request("si_a"), "org-1");
  expect(() => keeper.check(request("si_a"), "read")).toThrow(expect.objectContaining({ status: 403 }));
  expect(() => keeper.checkOrganization(request("si_a"), "org-2")).toThrow(expect.objectContaining({ status: 403 }));
  for (const wrong of [request(), request("si_b"), request(" ")]) {
    expect(() => keeper.check(wrong, "write")).toThrow(expect.objectContaining({ status: 401 }));
  }
});

test("keys that cannot be read open nothing", () => {
  for (const keys of ["[{}]", "{}", '[{"key_sha256":"00","organization_id":null,"scopes":["write"]}]']) {
    expect(() => new Gatekeeper(keys)).toThrow();
  }
});

const stored = { etag: "e", uploadedS: 1_795_000_000 };
const [earlier, later] = [-10, 10].map((s) => new Date((stored.uploadedS + s) * 1000).toUTCString());

test.each([
  [{ "if-match": '"e"' }, null],
  [{ "if-match": 'W/"e"' }, 412],
  [{ "if-match": '"x", "e"' }, null],
  [{ "if-match": "nonsense" }, 412],
  [{ "if-none-match": 'W/"e"' }, 304],
  [{ "if-none-match": "*" }, 304],
  [{ "if-none-match": '"x"' }, null],
  [{ "if-modified-since": later! }, 304],
  [{ "if-modified-since": earlier! }, null],
  [{ "if-unmodified-since": earlier! }, 412],
  [{ "if-unmodified-since": "yesterday" }, null],
  [{ "if-match": '"x"', "if-none-match": '"e"' }, 412],
])("%o demands %s", (headers, status) => {
  expect(failedPrecondition("GET", new Headers(headers as Record<string, string>), stored)).toBe(status);
});

test.each([
  ["bytes=1-3", [1, 3]],
  ["bytes=5-", [5, 9]],
  ["bytes=-3", [7, 9]],
  ["bytes=-30", [0, 9]],
  ["bytes=5-1", null],
  ["bytes=0-1,3-4", null],
  ["lines=1-2", null],
  ["bytes=-", null],
])("%s of ten bytes is %o", (range, part) => {
  expect(wantedRange("GET", new Headers({ range }), stored, 10)).toEqual(part);
});

test("a range that begins past the end is refused; one of an older version is not given", () => {
  expect(() => wantedRange("GET", new Headers({ range: "bytes=10-" }), stored, 10)).toThrow(
    expect.objectContaining({ status: 416, headers: { "content-range": "bytes */10" } }),
  );
  expect(wantedRange("GET", new Headers({ range: "bytes=1-2", "if-range": '"x"' }), stored, 10)).toBeNull();
  expect(wantedRange("GET", new Headers({ range: "bytes=1-2", "if-range": '"e"' }), stored, 10)).toEqual([1, 2]);
});

test("the three formats of an HTTP date are read", () => {
  const dates = ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"];
  expect(dates.map((date) => parseDate(date))).toEqual([784111777, 784111777, 784111777]);
  expect(parseDate("1994-11-06")).toBeNull();
});

test("what the platform throws has a status", () => {
  const known = (thrown: unknown) => {
    const { status, code } = asHttpError(thrown);
    return [status, code];
  };
  expect(known(new Error("D1_ERROR: no such table: x"))).toEqual([500, "d1_error"]);
  expect(known(new Error("put: Too many requests (10058)"))).toEqual([429, "r2_10058"]);
  expect(known(Object.assign(new Error("x"), { overloaded: true, retryable: true }))).toEqual([503, "overloaded"]);
  expect(known(new TypeError("x is undefined"))).toEqual([500, "internal"]);
});

test("shards are chosen by number, other names by their letters", () => {
  expect(objectName("org-7", null)).toBe("org-7");
  expect(objectName("org-7", 4)).toBe("shard-3");
  expect(objectName("org-999999999999999999", 4)).toBe("shard-3");
  expect(objectName("acme", 4)).toMatch(/^shard-[0-3]$/);
});

test("a wrong method is told which there are", () => {
  expect(checkMethod("HEAD", ["GET"])).toBe("GET");
  expect(() => checkMethod("PUT", ["GET"])).toThrow(expect.objectContaining({ headers: { allow: "GET, HEAD" } }));
});

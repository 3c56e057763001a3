/** Which route a request is for, and whom it is about. */

import { expect, test } from "vitest";
import { crc32 } from "../src/hashing.ts";
import { readCall } from "../twin/call.ts";
import { RouteTable } from "../twin/routes.ts";
import { Spent } from "../twin/spent.ts";

const compute = [{ use: "workers.compute" }];
const table = new RouteTable({
  system: { network: {}, tunnel: {} },
  routes: {
    feed: { request: { method: "GET", path: "/feed/{key}?page={request}" }, steps: compute },
    file: { request: { method: "GET", path: "/files/{key}.v{object}/a%20b" }, steps: compute },
    post: { request: { method: "POST", path: "/feed/{key}" }, steps: compute },
    device: { enter: "tunnel", request: { method: "POST", path: "/device" }, steps: compute },
  },
});

test.each([
  ["GET", "/feed/7", "feed", ["7"]],
  ["HEAD", "/feed/7", "feed", ["7"]],
  ["POST", "/feed/x", "post", ["x"]],
  ["GET", "/files/3.v4/a b", "file", ["3", "4"]],
])("%s %s is for %s", (method, path, name, values) => {
  const found = table.find(method, path);
  expect([found.route.name, found.values]).toEqual([name, values]);
});

test.each([
  ["GET", "/feed/", 404],
  ["GET", "/feed/7/x", 404],
  ["DELETE", "/feed/7", 405],
  ["POST", "/device", 404],
  ["GET", "/files/3.v4/axb", 404],
])("%s %s is refused with %i", (method, path, status) => {
  expect(() => table.find(method, path)).toThrow(expect.objectContaining({ status }));
});

function read(path: string, headers: Record<string, string> = {}) {
  return readCall(table.find("GET", path), new Headers(headers), new Uint8Array(), new Spent());
}

test("a request says in headers whom it is about", () => {
  const about = {
    "headroom-key": "9",
    "headroom-object": "4",
    "headroom-size-bytes": "100",
    "headroom-request": "12",
    "headroom-run": "r1",
    "headroom-prepare": "1",
  };
  expect(read("/feed/7", about)).toMatchObject({
    key: 9,
    objectIndex: 4,
    sizeBytes: 100,
    requestIndex: 12,
    requestId: "prepare-r1-12",
    prepares: true,
  });
});

test("without headers the path does", () => {
  expect(read("/feed/7").key).toBe(7);
  expect(read("/feed/alice").key).toBe(crc32("alice"));
  expect(crc32("123456789")).toBe(0xcbf43926);
  const [one, other] = [read("/feed/7"), read("/feed/7")];
  expect(other.requestIndex).toBe(one.requestIndex + 1);
});

test.each([
  ["headroom-key", "-1"],
  ["headroom-key", "1e3"],
  ["headroom-size-bytes", "100000001"],
  ["headroom-run", "a b"],
  ["headroom-run", "x".repeat(41)],
])("%s=%s is refused", (header, value) => {
  expect(() => read("/feed/7", { [header]: value, "headroom-request": "1" })).toThrow(/bad_field|must be/);
});

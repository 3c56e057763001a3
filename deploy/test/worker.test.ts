/** The Worker on the real runtime, where HTTP alone does not reach: keys, cron, a deployment that was left open. */

import { createHash } from "node:crypto";
import { readFileSync, readdirSync } from "node:fs";
import { Miniflare } from "miniflare";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
// @ts-expect-error -- plain JavaScript, for Node to run as it is
import { bundle } from "../runtime/bundle.mjs";

const ROOT = new URL("..", import.meta.url).pathname;
const CLASSES = { BILLING_LEDGER: "BillingLedger", CLOUD_SYNAPSE: "CloudSynapse", USAGE_METER: "UsageMeter" };
let script: string;

function started(texts: Record<string, string>): Miniflare {
  const objects = Object.entries(CLASSES).map(([name, exportName]) => {
    return [name, { type: "durable-object", worker: "main", exportName }] as const;
  });
  const vars = Object.entries(texts).map(([name, value]) => [name, { type: "text", value }] as const);
  return new Miniflare({
    cf: false,
    telemetry: { enabled: false },
    workers: [
      {
        config: {
          name: "main",
          compatibilityDate: "2026-11-01",
          manifest: { mainModule: "main.mjs", modulesRoot: ROOT, modules: { "main.mjs": { type: "esm", contents: script } } },
          env: { ...Object.fromEntries([...objects, ...vars]), DB: { type: "d1", id: "d" }, STORAGE: { type: "r2", name: "r" } },
          exports: Object.fromEntries(
            Object.values(CLASSES).map((name) => [name, { type: "durable-object", storage: "sqlite" } as const]),
          ),
        },
        dev: { rootPath: ROOT },
      },
    ],
  });
}

async function migrated(miniflare: Miniflare): Promise<Miniflare> {
  const database = await miniflare.getD1Database("DB");
  for (const name of readdirSync(`${ROOT}migrations`).sort()) {
    const text = readFileSync(`${ROOT}migrations/${name}`, "utf8").replaceAll(/--.*$/gm, "");
    const statements = text.split(";").map((one) => one.trim());
    await database.batch(statements.filter(Boolean).map((one) => database.prepare(one)));
  }
  return miniflare;
}

const ADDRESS = "http://127.0.0.1";
const event = (organization: string): string =>
  JSON.stringify({
    event_id: "e",
    organization_id: organization,
    user_id: "u",
    model: "sonnet",
    tokens_in: 278,
    tokens_out: 218,
    event_time_ms: Date.now(),
  });

beforeAll(async () => {
  script = await bundle(`${ROOT}src/index.ts`);
});

describe("with keys", () => {
  let worker: Miniflare;
  const key_sha256 = createHash("sha256").update("si_a").digest("hex");
  const keys = [{ key_sha256, organization_id: "org-1", scopes: ["write", "read"] }];
  const headers = { authorization: "Bearer si_a" };

  beforeAll(async () => {
    worker = await migrated(started({ ACCESS_KEYS: JSON.stringify(keys) }));
  });
  afterAll(() => worker.dispose());

  const ask = async (path: string, init: object = {}): Promise<[number, string | null]> => {
    const answer = await worker.dispatchFetch(ADDRESS + path, init);
    await answer.arrayBuffer();
    return [answer.status, answer.headers.get("www-authenticate")];
  };

  test("nobody is served without one, but the operator's paths", async () => {
    expect(await ask("/balance?organization_id=org-1")).toEqual([401, 'Bearer realm="headroom"']);
    expect(await ask("/log", { method: "POST", body: event("org-1") })).toEqual([401, 'Bearer realm="headroom"']);
    expect(await ask("/health")).toEqual([200, null]);
  });

  test("a key opens its own organisation, within its scopes", async () => {
    expect(await ask("/log", { method: "POST", body: event("org-1"), headers })).toEqual([200, null]);
    expect(await ask("/log", { method: "POST", body: event("org-2"), headers })).toEqual([403, null]);
    expect(await ask("/balance?organization_id=org-2", { headers })).toEqual([403, null]);
    expect(await ask("/flush?organization_id=org-1", { method: "POST", headers })).toEqual([403, null]);
  });
});

test("a deployment whose keys were forgotten serves nobody", async () => {
  const worker = started({ OPEN_ACCESS: "0" });
  try {
    const answer = await worker.dispatchFetch(`${ADDRESS}/balance?organization_id=org-1`);
    expect([answer.status, ((await answer.json()) as { error: { code: string } }).error.code]).toEqual([503, "no_keys"]);
    expect((await worker.dispatchFetch(`${ADDRESS}/health`)).status).toBe(200);
  } finally {
    await worker.dispose();
  }
});

test("the cron job flushes what the ledgers of known organisations owe", async () => {
  const worker = await migrated(started({ OPEN_ACCESS: "1" }));
  try {
    const database = await worker.getD1Database("DB");
    await database.prepare("INSERT INTO organizations (id, name, slug) VALUES ('org-1', 'o', 'o')").run();
    await (await worker.dispatchFetch(`${ADDRESS}/log`, { method: "POST", body: event("org-1") })).arrayBuffer();
    const main = (await worker.getWorker()) as unknown as { scheduled(options: object): Promise<{ outcome: string }> };
    expect((await main.scheduled({ cron: "*/5 * * * *", scheduledTime: new Date(0) })).outcome).toBe("ok");
    const stored = await database.prepare("SELECT id, charge_microusd FROM usage_events").all();
    expect(stored.results).toEqual([{ id: "org-1/e", charge_microusd: 4227 }]);
    const balance = await (await worker.dispatchFetch(`${ADDRESS}/balance?organization_id=org-1`)).json();
    expect(balance).toEqual({ success: true, balance_microusd: 0, events_pending: 0 });
  } finally {
    await worker.dispose();
  }
});

test("of writers that found no adapter, one stores it", async () => {
  const worker = await migrated(started({ OPEN_ACCESS: "1" }));
  try {
    const put = async (body: string): Promise<number> => {
      const headers = { "if-none-match": "*" };
      const answer = await worker.dispatchFetch(`${ADDRESS}/loras/a/adapter.safetensors`, { method: "PUT", headers, body });
      await answer.arrayBuffer();
      return answer.status;
    };
    const statuses = await Promise.all(["a", "b", "c", "d", "e"].map(put));
    expect(statuses.sort()).toEqual([200, 412, 412, 412, 412]);
  } finally {
    await worker.dispose();
  }
});

test("the gauges count what was answered", async () => {
  const worker = await migrated(started({ OPEN_ACCESS: "1" }));
  try {
    await (await worker.dispatchFetch(`${ADDRESS}/nothing`)).arrayBuffer();
    const text = await (await worker.dispatchFetch(`${ADDRESS}/metrics`)).text();
    expect(text).toContain('requests_total{method="GET",status="404"} 1\n');
    expect(text).toMatch(/request_latency_ms_bucket\{le="\+Inf",method="GET"\} 1\n/);
    expect(text).toContain("active_connections 0\n");
  } finally {
    await worker.dispose();
  }
});

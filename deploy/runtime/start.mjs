/** Serve a Worker of this folder on the real runtime, with the bindings that a deployment file asks for.
 *
 *     node runtime/start.mjs OPTIONS.json
 *
 * Options: deployment (the deployment file's content), worker (its module), port, state (folder of all state), scratch
 * (folder to remove at the end, in which the runtime's starter keeps its process number). One JSON line on standard output
 * when it is ready; SIGTERM or SIGINT ends it with status 0.
 */

import { readFileSync, readdirSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { Log, LogLevel, Miniflare } from "miniflare";
import { bundle } from "./bundle.mjs";

const FOLDER = dirname(dirname(fileURLToPath(import.meta.url)));
const COMPATIBILITY = { compatibilityDate: "2026-11-01" };
const WATCH_MS = 250;
const OF_THE_API = ["d1", "r2", "durable_objects", "ledger"];
const NAMESPACES = {
  BillingLedger: "BILLING_LEDGER",
  CloudSynapse: "CLOUD_SYNAPSE",
  UsageMeter: "USAGE_METER",
  RouteObject: "ROUTE_OBJECTS",
};

/** Return the instances of a component. */
function instances(system, component) {
  return Object.keys(system).filter((name) => (system[name].component ?? name) === component);
}

/** Return the bindings of the brief's API, and the settings of its ledger. */
function apiBindings(system) {
  const ledger = system.ledger ?? {};
  const shards = system[ledger.objects ?? "durable_objects"]?.shards;
  const texts = {
    OPEN_ACCESS: "1",
    LEDGER_POLICY: ledger.policy,
    LEDGER_FLUSH_INTERVAL_S: ledger.flush_interval_s,
    LEDGER_FLUSH_CHUNK_ROWS: ledger.flush_chunk_rows,
    LEDGER_SHARDS: typeof shards === "number" ? shards : null,
  };
  const env = { DB: { type: "d1", id: ledger.database ?? "d1" }, STORAGE: { type: "r2", name: "r2" } };
  for (const [name, value] of Object.entries(texts)) {
    if (value !== undefined && value !== null) env[name] = { type: "text", value: String(value) };
  }
  return env;
}

/** Return the bindings that the instances of a system are bound to, by name. */
function bindings(deployment, classes) {
  const { system } = deployment;
  const env = {
    DEPLOYMENT: { type: "json", value: deployment },
    OPENED_MS: { type: "text", value: String(Date.now()) },
  };
  for (const name of instances(system, "d1")) env[name] = { type: "d1", id: name };
  for (const name of instances(system, "r2")) env[name] = { type: "r2", name };
  for (const name of instances(system, "kv")) env[name] = { type: "kv", id: name };
  for (const name of instances(system, "queues")) env[name] = { type: "queue", name };
  if (deployment.api) Object.assign(env, apiBindings(system));
  for (const exportName of classes) env[NAMESPACES[exportName]] = { type: "durable-object", worker: "main", exportName };
  return env;
}

/** Return the queues that the Worker consumes itself, with the sizes of their batches. */
function consumed(system) {
  return instances(system, "queues").map((name) => ({
    type: "queue",
    name,
    maxBatchSize: system[name].batch_messages,
    maxBatchTimeout: system[name].batch_timeout_s,
  }));
}

/** Bring a database up to date: each file of the migrations once, with its entry in the platform's own table. */
async function migrate(database) {
  const table =
    "CREATE TABLE IF NOT EXISTS d1_migrations (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT UNIQUE, " +
    "applied_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP NOT NULL)";
  await database.prepare(table).run();
  const { results } = await database.prepare("SELECT name FROM d1_migrations").all();
  const done = new Set(results.map(({ name }) => name));
  const folder = join(FOLDER, "migrations");
  for (const name of readdirSync(folder).sort().filter((file) => file.endsWith(".sql") && !done.has(file))) {
    const script = readFileSync(join(folder, name), "utf8").replaceAll(/--.*$/gm, "");
    const statements = script.split(/;\s*$/m).map((statement) => statement.trim()).filter(Boolean);
    const record = database.prepare("INSERT INTO d1_migrations (name) VALUES (?)").bind(name);
    await database.batch([...statements.map((statement) => database.prepare(statement)), record]);
  }
}

/** Return a deployment that has an instance of every component that its API needs. */
function completed(deployment) {
  if (!deployment.api) return deployment;
  const missing = OF_THE_API.filter((name) => !(name in deployment.system));
  return { ...deployment, system: { ...deployment.system, ...Object.fromEntries(missing.map((name) => [name, {}])) } };
}

async function start(options) {
  const deployment = completed(options.deployment);
  const contents = await bundle(join(FOLDER, options.worker));
  const classes = Object.keys(NAMESPACES);
  const exports = Object.fromEntries(classes.map((name) => [name, { type: "durable-object", storage: "sqlite" }]));
  const env = bindings(deployment, classes);
  const miniflare = new Miniflare({
    host: "127.0.0.1",
    port: 0,
    cf: false,
    log: new Log(LogLevel.ERROR),
    logRequests: false,
    telemetry: { enabled: false },
    resourcePersistencePath: options.state,
    workers: [
      {
        config: {
          name: "main",
          ...COMPATIBILITY,
          manifest: { mainModule: "main.mjs", modulesRoot: FOLDER, modules: { "main.mjs": { type: "esm", contents } } },
          env,
          exports,
          triggers: consumed(deployment.system),
        },
        // Its own socket: the one of Miniflare has a Worker of Miniflare's in front, which takes two thirds of the speed.
        dev: { rootPath: FOLDER, unsafeDirectSockets: [{ host: "127.0.0.1", port: options.port }], stripCfConnectingIp: true },
      },
    ],
  });
  await miniflare.ready;
  const ledgers = instances(deployment.system, "ledger").map((name) => deployment.system[name].database ?? "d1");
  for (const name of new Set(ledgers)) await migrate(await miniflare.getD1Database(name, "main"));
  const url = await miniflare.unsafeGetDirectURL("main");
  return { miniflare, url };
}

const options = JSON.parse(readFileSync(process.argv[2], "utf8"));
let running;
let isStopping = false;

async function stop(status) {
  if (isStopping) return;
  isStopping = true;
  try {
    await running?.miniflare.dispose();
  } finally {
    process.exit(status);
  }
}

/** End with one line on standard error. */
async function fail(error) {
  const said = String(error?.message ?? error).split("\n", 1)[0];
  const taken = `workerd: port=${options.port} cannot be had: Address already in use; choose another or 0 for any`;
  process.stderr.write(`${/address already in use/i.test(said) ? taken : said}\n`);
  await stop(2);
}

/** End when the runtime does: Miniflare would go on without it. */
function watch() {
  const pid = Number(readFileSync(join(options.scratch, "workerd.pid"), "utf8"));
  setInterval(() => {
    try {
      process.kill(pid, 0);
    } catch {
      void fail("the runtime's process is gone");
    }
  }, WATCH_MS).unref();
}

// Whatever ends it: before it is ready, Miniflare's own handlers of signals do.
process.on("exit", () => rmSync(options.scratch, { recursive: true, force: true }));
try {
  running = await start(options);
  // Miniflare's own handlers end the process by the signal, and not with status 0.
  for (const signal of ["SIGTERM", "SIGINT"]) process.removeAllListeners(signal).on(signal, () => void stop(0));
  watch();
  process.stdout.write(`${JSON.stringify({ http: running.url.origin, quic: null, pid: process.pid })}\n`);
} catch (error) {
  await fail(error);
}

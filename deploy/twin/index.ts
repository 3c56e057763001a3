/** The twin: a Worker that plays the routes of any scenario on real bindings, beside the brief's API if it is asked for.
 *
 * Its routes and instances come from the deployment file, which is a binding; no route's name stands in code. It keeps
 * no scenario's pace: what it takes is what the runtime takes.
 */

import type { Env as ApiEnv } from "../src/env.ts";
import { BillingLedger, CloudSynapse, UsageMeter, serve } from "../src/index.ts";
import { decodedPath, errorResponse, json, withoutBody } from "../src/messages.ts";
import { checkMethod } from "../src/methods.ts";
import { hasPath } from "../src/worker.ts";
import { readCall } from "./call.ts";
import type { DeploymentFile } from "./deployment.ts";
import { Operations } from "./operations.ts";
import { Player } from "./player.ts";
import { RouteObject } from "./route_object.ts";
import { RouteTable } from "./routes.ts";
import { Spent } from "./spent.ts";
import { timed } from "./timed.ts";

export { BillingLedger, CloudSynapse, RouteObject, UsageMeter };

interface Env extends Record<string, unknown> {
  DEPLOYMENT: DeploymentFile;
}

const OPERATOR = ["/metrics", "/openapi.json"];

let table: RouteTable | undefined;

export default {
  async fetch(request, env, ctx): Promise<Response> {
    const spent = new Spent();
    const response = await answer(request, env, ctx, spent).catch(errorResponse);
    const full = request.method === "HEAD" ? await withoutBody(response) : response;
    if (full.webSocket) return full;
    full.headers.set("server-timing", spent.serverTiming());
    return full;
  },
  /** Consume a batch of a queue: there is no more to do than to take it. */
  async queue(batch) {
    batch.ackAll();
  },
} satisfies ExportedHandler<Env>;

async function answer(request: Request, env: Env, ctx: ExecutionContext, spent: Spent): Promise<Response> {
  const path = decodedPath(new URL(request.url));
  if (path === "/health") {
    checkMethod(request.method, ["GET"]);
    return json({ success: true, status: "ok" });
  }
  if (env.DEPLOYMENT.api && (hasPath(path) || OPERATOR.includes(path))) return mutable(await serve(request, timedEnv(env, spent)));
  table ??= new RouteTable(env.DEPLOYMENT);
  const found = table.find(request.method, path);
  const call = readCall(found, request.headers, await request.bytes(), spent);
  const operations = new Operations(env.DEPLOYMENT, env);
  const operate = operations.run.bind(operations);
  const player = new Player(operate, env.DEPLOYMENT.seed ?? 0, (work) => ctx.waitUntil(work));
  return (await player.play(found.route.steps, call)) ?? json({ success: true });
}

/** Return an answer whose headers can be added to: those of an object's own answer cannot. */
function mutable(response: Response): Response {
  return response.webSocket ? response : new Response(response.body, response);
}

/** Return the bindings of the API, whose time is attributed to the instances that they are bound to. */
function timedEnv(env: Env, spent: Spent): ApiEnv {
  const api = env as unknown as ApiEnv;
  return {
    ...api,
    DB: timed(api.DB, "d1", spent),
    STORAGE: timed(api.STORAGE, "r2", spent),
    BILLING_LEDGER: timed(api.BILLING_LEDGER, "durable_objects", spent),
    CLOUD_SYNAPSE: timed(api.CLOUD_SYNAPSE, "synapse", spent),
  };
}

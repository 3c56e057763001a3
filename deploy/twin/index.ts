/** The twin: a Worker that plays the routes of any scenario on real bindings.
 *
 * Its routes and instances come from the deployment file, which is a binding; no route's name stands in code. It keeps
 * no scenario's pace: what it takes is what the runtime takes.
 */

import { RequestError } from "../src/errors.ts";
import { UsageMeter } from "../src/ledger/meter.ts";
import { decodedPath, errorResponse, json, withoutBody } from "../src/messages.ts";
import { readCall } from "./call.ts";
import type { DeploymentFile } from "./deployment.ts";
import { Operations } from "./operations.ts";
import { Player } from "./player.ts";
import { RouteObject } from "./route_object.ts";
import { RouteTable } from "./routes.ts";
import { Spent } from "./spent.ts";

export { RouteObject, UsageMeter };

interface Env extends Record<string, unknown> {
  DEPLOYMENT: DeploymentFile;
}

let table: RouteTable | undefined;

export default {
  async fetch(request, env, ctx): Promise<Response> {
    const spent = new Spent();
    const response = await answer(request, env, ctx, spent).catch(errorResponse);
    const full = request.method === "HEAD" ? await withoutBody(response) : response;
    full.headers.set("server-timing", spent.serverTiming());
    return full;
  },
} satisfies ExportedHandler<Env>;

async function answer(request: Request, env: Env, ctx: ExecutionContext, spent: Spent): Promise<Response> {
  const path = decodedPath(new URL(request.url));
  if (path === "/health") return health(request);
  table ??= new RouteTable(env.DEPLOYMENT);
  const found = table.find(request.method, path);
  const call = readCall(found, request.headers, await request.bytes(), spent);
  const operations = new Operations(env.DEPLOYMENT, env);
  const operate = operations.run.bind(operations);
  const player = new Player(operate, env.DEPLOYMENT.seed ?? 0, (work) => ctx.waitUntil(work));
  return (await player.play(found.route.steps, call)) ?? json({ success: true });
}

function health(request: Request): Response {
  if (request.method === "GET" || request.method === "HEAD") return json({ success: true, status: "ok" });
  const named = "GET, HEAD";
  throw new RequestError(405, "method_not_allowed", `${request.method}: use ${named}`, { allow: named });
}

/** The Worker of the brief: an API on D1, R2, a billing ledger and a synapse; a sweep every five minutes. */

import { BillingLedger } from "./billing_ledger.ts";
import { description } from "./description.ts";
import type { Env } from "./env.ts";
import { UsageMeter } from "./ledger/meter.ts";
import { decodedPath, errorResponse, json, withoutBody } from "./messages.ts";
import { exposition, observe } from "./monitoring.ts";
import { sweep } from "./sweep.ts";
import { CloudSynapse } from "./synapse/cloud_synapse.ts";
import { checkMethod } from "./methods.ts";
import { answer } from "./worker.ts";

export { BillingLedger, CloudSynapse, UsageMeter };

const OPERATOR: Record<string, () => Response> = {
  "/health": () => json({ success: true, status: "ok" }),
  "/metrics": exposition,
  "/openapi.json": () => json(description(Date.now())),
};

export default {
  async fetch(request, env): Promise<Response> {
    const response = await serve(request, env).catch(errorResponse);
    return request.method === "HEAD" ? withoutBody(response) : response;
  },

  async scheduled(event, env): Promise<void> {
    await sweep(env, event.scheduledTime);
  },
} satisfies ExportedHandler<Env>;

/** Answer the operator's own paths, then those of the API. */
export async function serve(request: Request, env: Env): Promise<Response> {
  const operator = OPERATOR[decodedPath(new URL(request.url))];
  if (operator) {
    checkMethod(request.method, ["GET"]);
    return operator();
  }
  return observe(request.method, () => answer(request, env).catch(errorResponse));
}

/** What the API serves, in OpenAPI's words: the reference's own description, which a test compares. */

import { dateBounds } from "./ledger/policy.ts";
import OPENAPI from "./openapi.json" with { type: "json" };

/** Return the description as it holds at a time: the bounds of an event's date move. */
export function description(nowMs: number): object {
  const found = structuredClone(OPENAPI);
  const body = found.paths["/log"].post.requestBody.content["application/json"];
  Object.assign(body.schema.properties.event_time_ms, dateBounds(nowMs));
  return found;
}

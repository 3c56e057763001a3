/** Which methods a path has. */

import { RequestError } from "./errors.ts";

/** Return which of some methods handles a request: its own, or GET for HEAD. Throws 405. */
export function checkMethod(method: string, methods: string[]): string {
  const meant = method === "HEAD" ? "GET" : method;
  if (methods.includes(meant)) return meant;
  const named = (methods.includes("GET") ? [...methods, "HEAD"] : methods).join(", ");
  throw new RequestError(405, "method_not_allowed", `${method.slice(0, 20)}: use ${named}`, { allow: named });
}

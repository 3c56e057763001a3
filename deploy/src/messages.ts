/** Answers as JSON, refusals too. */

import { asHttpError } from "./errors.ts";

export function json(content: unknown, status = 200, headers: Record<string, string> = {}): Response {
  return new Response(JSON.stringify(content), {
    status,
    headers: { "content-type": "application/json", ...headers },
  });
}

/** Return the JSON answer that every refusal has; a defect goes to the log and not to the client. */
export function errorResponse(error: unknown): Response {
  const known = asHttpError(error);
  if (known.code === "internal") console.error(error);
  const message = known.code === "internal" ? "a defect of the deployment; see its log" : known.message;
  return json({ success: false, error: { code: known.code, message } }, known.status, known.headers);
}

/** Return the answer to a HEAD: as to the GET, with the length of the body in place of the body. */
export async function withoutBody(response: Response): Promise<Response> {
  const headers = new Headers(response.headers);
  if (response.status !== 304 && !headers.has("content-length")) {
    headers.set("content-length", String((await response.arrayBuffer()).byteLength));
  } else {
    await response.body?.cancel();
  }
  return new Response(null, { status: response.status, headers });
}

/** Return the decoded path of a URL; one that cannot be decoded stays as it is. */
export function decodedPath(url: URL): string {
  try {
    return decodeURIComponent(url.pathname);
  } catch {
    return url.pathname;
  }
}

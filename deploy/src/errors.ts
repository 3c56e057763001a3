/** What can go wrong, and whose fault it is: an error that reaches a client has a status and a short code. */

export class HttpError extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
    readonly headers: Record<string, string> = {},
  ) {
    super(message);
  }
}

/** The client's fault: to repeat the call cannot help. */
export class RequestError extends HttpError {}

/** The platform's own refusal. A documented limit is final: the same call fails again, however often repeated. */
export class PlatformError extends HttpError {
  constructor(
    status: number,
    code: string,
    message: string,
    readonly isFinal = false,
  ) {
    super(status, code, message);
  }
}

/** A caller inside the deployment gave up on a call; what it asked for goes on. */
export class CallTimeoutError extends HttpError {
  constructor(message: string) {
    super(504, "timeout", message);
  }
}

/** Whether repeating the call that failed so cannot help. */
export function isFinal(error: unknown): boolean {
  return error instanceof RequestError || (error instanceof PlatformError && error.isFinal);
}

/** Return what the platform threw as an error with a status. */
export function asHttpError(error: unknown): HttpError {
  if (error instanceof HttpError) return error;
  const thrown = error as { message?: string; overloaded?: boolean; retryable?: boolean };
  const message = (thrown.message ?? String(error)).split("\n", 1)[0] ?? "";
  if (thrown.overloaded) return new PlatformError(503, "overloaded", message);
  if (message.startsWith("D1_") || message.startsWith("SQLITE_")) return new PlatformError(500, "d1_error", message);
  const numbered = /\((\d{5,6})\)$/.exec(message);
  if (numbered) return r2Error(Number(numbered[1]), message);
  if (thrown.retryable) return new PlatformError(503, "platform", message);
  return new HttpError(500, "internal", message);
}

const R2_STATUSES: Record<number, number> = { 10007: 404, 10012: 400, 10020: 400, 10058: 429, 100100: 413 };

function r2Error(number: number, message: string): HttpError {
  return new PlatformError(R2_STATUSES[number] ?? 500, `r2_${number}`, message);
}

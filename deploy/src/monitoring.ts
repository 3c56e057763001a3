/** Gauges of this isolate, in the text format that Prometheus reads.
 *
 * The platform runs many isolates and asks any of them: what one of them says is its own share. A request that ends in an
 * exception is counted (status 500), the buckets have bounds at every target and alert line, and a method that a client
 * made up is labelled other.
 */

const BOUNDS_MS = [1, 2, 5, 10, 20, 30, 50, 75, 100, 150, 200, 300, 500, 1_000, 2_000, 5_000];
const METHODS = new Set(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]);

interface Latency {
  counts: number[];
  count: number;
  sumMs: number;
}

const requests = new Map<string, number>();
const latencies = new Map<string, Latency>();
let active = 0;

/** Answer with a handler and count what happened, whatever happened. */
export async function observe(method: string, handler: () => Promise<Response>): Promise<Response> {
  const label = METHODS.has(method) ? method : "other";
  const beganMs = performance.now();
  let status = 500;
  active++;
  try {
    const response = await handler();
    status = response.status;
    return response;
  } finally {
    active--;
    const name = `requests_total{method="${label}",status="${status}"}`;
    requests.set(name, (requests.get(name) ?? 0) + 1);
    note(label, performance.now() - beganMs);
  }
}

function note(label: string, latencyMs: number): void {
  const latency = latencies.get(label) ?? { counts: BOUNDS_MS.map(() => 0), count: 0, sumMs: 0 };
  BOUNDS_MS.forEach((bound, n) => {
    if (latencyMs <= bound) latency.counts[n]!++;
  });
  latency.count++;
  latency.sumMs += latencyMs;
  latencies.set(label, latency);
}

/** Return all gauges of this isolate. */
export function exposition(): Response {
  const lines = ["# HELP requests_total Requests by method and status.", "# TYPE requests_total counter"];
  for (const [name, count] of requests) lines.push(`${name} ${count}`);
  lines.push("# HELP request_latency_ms Time in the Worker and behind it, in milliseconds.");
  lines.push("# TYPE request_latency_ms histogram");
  for (const [label, { counts, count, sumMs }] of latencies) {
    BOUNDS_MS.forEach((bound, n) => {
      lines.push(`request_latency_ms_bucket{le="${bound.toFixed(1)}",method="${label}"} ${counts[n]}`);
    });
    lines.push(`request_latency_ms_bucket{le="+Inf",method="${label}"} ${count}`);
    lines.push(`request_latency_ms_count{method="${label}"} ${count}`);
    lines.push(`request_latency_ms_sum{method="${label}"} ${sumMs}`);
  }
  lines.push("# HELP active_connections Requests that are being answered.", "# TYPE active_connections gauge");
  lines.push(`active_connections ${active}`, "");
  return new Response(lines.join("\n"), { headers: { "content-type": "text/plain; version=0.0.4; charset=utf-8" } });
}

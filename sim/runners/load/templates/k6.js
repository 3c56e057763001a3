// Plays schedule.json with k6: every request at its intended time, at most `in_flight` at once.
//
//   k6 run k6.js
//
// Latency counts from the intended send (`latency_corrected`); `send_lag` is the lateness of k6 itself: where it is a
// large part of the latency, the run says nothing of the deployment. Each virtual user takes the next request of the
// schedule, waits for its time and sends it, so the loop is open as long as a virtual user is free.
import exec from "k6/execution";
import http from "k6/http";
import { sleep } from "k6";
import { Rate, Trend } from "k6/metrics";

const plan = JSON.parse(open("./schedule.json"));
const LEAD_MS = 3000; // Time for the virtual users to start before the first request.

const corrected = new Trend("latency_corrected", true);
const lag = new Trend("send_lag", true);
const failed = new Rate("failed");

export const options = {
  discardResponseBodies: false,
  maxRedirects: 0,
  userAgent: "headroom-k6",
  scenarios: {
    schedule: {
      executor: "shared-iterations",
      iterations: plan.requests.length,
      vus: Math.min(plan.in_flight, plan.requests.length),
      maxDuration: `${Math.ceil((LEAD_MS + plan.duration_ms + plan.timeout_ms) / 1000) + 10}s`,
    },
  },
};

export function setup() {
  return { start_ms: Date.now() + LEAD_MS };
}

function headersOf(request) {
  const headers = {};
  for (const [name, value] of Object.entries(plan.headers)) {
    headers[name] = value.startsWith("env:") ? __ENV[value.slice(4)] : value;
  }
  if (request.upload_bytes) {
    headers["Content-Type"] = "application/octet-stream";
  } else if (request.body) {
    headers["Content-Type"] = "application/json";
  }
  return headers;
}

export default function (data) {
  const request = plan.requests[exec.scenario.iterationInTest];
  const intended_ms = data.start_ms + request.at_ms;
  const wait_ms = intended_ms - Date.now();
  if (wait_ms > 0) {
    sleep(wait_ms / 1000);
  }
  const tags = { name: request.route };
  lag.add(Math.max(0, Date.now() - intended_ms), tags);
  const body = request.upload_bytes ? new ArrayBuffer(request.upload_bytes) : request.body || null;
  const answer = http.request(request.method, plan.url + request.path, body, {
    headers: headersOf(request),
    tags,
    timeout: plan.timeout_ms,
    responseType: request.download_bytes === undefined ? "none" : "binary",
  });
  corrected.add(Date.now() - intended_ms, tags);
  const short = request.download_bytes !== undefined && answer.body && answer.body.byteLength !== request.download_bytes;
  failed.add(answer.status < 200 || answer.status >= 300 || Boolean(short), tags);
}

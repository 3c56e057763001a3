/** Calls and steps for tests. */

import type { Call } from "../twin/call.ts";
import { readSteps, type Step, type StepFile } from "../twin/deployment.ts";
import { Spent } from "../twin/spent.ts";

export function call(changes: Partial<Call> = {}): Call {
  return {
    route: "one",
    key: 5,
    sizeBytes: 12,
    objectIndex: 77,
    requestIndex: 3,
    requestId: "3",
    prepares: false,
    body: new Uint8Array(),
    spent: new Spent(),
    stepIndex: 0,
    repetitionIndex: 0,
    parameters: {},
    ...changes,
  };
}

export function steps(...files: StepFile[]): Step[] {
  return readSteps(files);
}

export function sleep(durationMs: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, durationMs));
}

/** A small generator of random numbers whose seed a failing test names. */
export function randomNumbers(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

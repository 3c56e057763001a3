/** The player: executes the steps of a route on real bindings, for one request.
 *
 * A step is, from the outside in: a chance, perhaps a spawn, attempts with their timeout, hedged copies, repetitions, and
 * at last the operation or the group. Time that a caller's policy waits, or loses with an attempt that was given up, is
 * the time category `client`. A preparation does every step, whatever its chance, waits for what would have been
 * spawned, and knows no policy.
 */

import { CallTimeoutError, isFinal } from "../src/errors.ts";
import type { Call } from "./call.ts";
import { uniform } from "./chance.ts";
import type { Step } from "./deployment.ts";
import { Spent } from "./spent.ts";

const CLIENT = "client";
const BACKOFF_MS_MAX = 60_000;

export type Answer = Response | null;
export type Operate = (step: Step, call: Call) => Promise<Answer>;
type Work = (spent: Spent) => Promise<Answer>;

export class Player {
  constructor(
    private readonly operate: Operate,
    private readonly seed: number,
    private readonly waitUntil: (work: Promise<unknown>) => void,
  ) {}

  /** Do steps in order; what the last of them has to say is the answer. */
  async play(steps: Step[], call: Call): Promise<Answer> {
    let answer: Answer = null;
    for (const step of steps) answer = (await this.step(step, call)) ?? answer;
    return answer;
  }

  private async step(step: Step, call: Call): Promise<Answer> {
    if (call.prepares) return step.chance > 0 ? this.repeated(step, call) : null;
    if (step.chance < 1 && this.chance(step, call, "chance") >= step.chance) return null;
    if (!step.isSpawned) return this.attempts(step, call);
    const unattended = this.attempts(step, { ...call, spent: new Spent() });
    this.waitUntil(unattended.catch((error: unknown) => console.log(`a spawned step of ${call.route} failed:`, error)));
    return null;
  }

  private async attempts(step: Step, call: Call): Promise<Answer> {
    for (let retry = 0; retry < step.retries; retry++) {
      try {
        return await this.attempt(step, call);
      } catch (error) {
        if (isFinal(error)) throw error;
        const longestMs = Math.min(step.backoffMs * 2 ** Math.min(retry, 62), BACKOFF_MS_MAX);
        const pauseMs = step.hasJitter ? longestMs * this.chance(step, call, `jitter-${retry}`) : longestMs;
        await call.spent.during(CLIENT, () => sleep(pauseMs));
      }
    }
    return this.attempt(step, call);
  }

  /** Do a step, or give it up after the timeout; what it began goes on. */
  private async attempt(step: Step, call: Call): Promise<Answer> {
    if (step.timeoutMs === null) return this.hedged(step, call);
    const spent = new Spent();
    const work = this.hedged(step, { ...call, spent });
    const ended = await firstOf([settled(work)], step.timeoutMs);
    if (ended === null) {
      this.waitUntil(work.catch(() => null));
      call.spent.add(CLIENT, step.timeoutMs);
      const who = step.operation ? `a call of ${step.instance}` : "a group of steps";
      throw new CallTimeoutError(`${who} took more than ${step.timeoutMs} ms; what it began goes on`);
    }
    call.spent.join(spent);
    return ended();
  }

  /** Do a step; if it takes long, do it a second time beside, and take the first success. */
  private async hedged(step: Step, call: Call): Promise<Answer> {
    if (step.hedgeMs === null) return this.repeated(step, call);
    const spents = [new Spent(), new Spent()] as const;
    const first = settled(this.repeated(step, { ...call, spent: spents[0] })).then((end) => ({ end, number: 0 }));
    let ended = await firstOf([first], step.hedgeMs);
    if (ended === null) {
      spents[1].add(CLIENT, step.hedgeMs);
      const second = settled(this.repeated(step, { ...call, spent: spents[1] })).then((end) => ({ end, number: 1 }));
      ended = await Promise.race([first, second]);
      const other = ended.number === 0 ? second : first;
      if (ended.end.failed) ended = await other;
      else this.waitUntil(other);
    }
    call.spent.join(spents[ended.number]!);
    return ended.end();
  }

  private async repeated(step: Step, call: Call): Promise<Answer> {
    const first = call.repetitionIndex * step.times;
    const calls = Array.from({ length: step.times }, (_, n) => ({ ...call, repetitionIndex: first + n }));
    if (step.isParallel) {
      const works = calls.flatMap((one) => this.works(step, one));
      if (works.length > 1) return this.atOnce(works, call);
    }
    let answer: Answer = null;
    for (const one of calls) answer = (await this.once(step, one)) ?? answer;
    return answer;
  }

  private async once(step: Step, call: Call): Promise<Answer> {
    if (!step.operation) return this.play(step.steps, call);
    return this.operate(step, { ...call, stepIndex: step.index, parameters: step.parameters });
  }

  private works(step: Step, call: Call): Work[] {
    if (step.operation) return [(spent) => this.once(step, { ...call, spent })];
    return step.steps.map((inner) => (spent) => this.step(inner, { ...call, spent }));
  }

  /** Do several things at once; the first failure fails, the last success decides the time. */
  private async atOnce(works: Work[], call: Call): Promise<Answer> {
    let last = new Spent();
    const running = works.map(async (work) => {
      const spent = new Spent();
      const answer = await work(spent);
      last = spent;
      return answer;
    });
    for (const one of running) this.waitUntil(one.catch(() => null));
    const answers = await Promise.all(running);
    call.spent.join(last);
    return answers.findLast((answer) => answer !== null) ?? null;
  }

  private chance(step: Step, call: Call, what: string): number {
    return uniform(this.seed, call.route, step.index, what, call.repetitionIndex, call.requestId);
  }
}

function sleep(durationMs: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, durationMs));
}

/** What a promise came to: call it to have its value, or what it threw. */
type End = (() => Answer) & { failed: boolean };

async function settled(work: Promise<Answer>): Promise<End> {
  try {
    const answer = await work;
    return Object.assign(() => answer, { failed: false });
  } catch (error) {
    const raise = (): Answer => {
      throw error;
    };
    return Object.assign(raise, { failed: true });
  }
}

/** Return the first of some results, or null if a time comes first. */
async function firstOf<T>(works: Promise<T>[], afterMs: number): Promise<T | null> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<null>((resolve) => {
    timer = setTimeout(() => resolve(null), afterMs);
  });
  try {
    return await Promise.race([...works, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** The player: every step of a route happens as often as it says.
 *
 * Random trees of steps against an interpreter that only counts; then single rules, one by one.
 */

import { describe, expect, test } from "vitest";
import { PlatformError, RequestError } from "../src/errors.ts";
import type { Step, StepFile } from "../twin/deployment.ts";
import { type Answer, Player } from "../twin/player.ts";
import { call, randomNumbers, sleep, steps } from "./support.ts";

const LONG_MS = 50_000;

interface Played {
  counts: Record<string, number>;
  player: Player;
  unattended: Promise<unknown>[];
}

/** A player whose operations only count, and do what a test says. */
function counting(act: (step: Step, attempt: number) => Promise<Answer> | Answer = () => null): Played {
  const counts: Record<string, number> = {};
  const unattended: Promise<unknown>[] = [];
  const operate = async (step: Step): Promise<Answer> => {
    const use = `${step.instance}.${step.operation}`;
    counts[use] = (counts[use] ?? 0) + 1;
    return act(step, counts[use]);
  };
  return { counts, unattended, player: new Player(operate, 7, (work) => unattended.push(work)) };
}

function counted(files: StepFile[], times = 1, sums: Record<string, number> = {}): Record<string, number> {
  for (const file of files) {
    const often = times * (file.times ?? 1) * (file.chance ?? 1);
    if (file.use) sums[file.use] = (sums[file.use] ?? 0) + often;
    else counted(file.steps!, often, sums);
  }
  return sums;
}

function randomTree(random: () => number, depth: number): StepFile[] {
  const pick = <T>(values: T[]): T => values[Math.floor(random() * values.length)]!;
  return Array.from({ length: 1 + Math.floor(random() * 3) }, () => {
    const inner = depth > 0 && random() < 0.4 ? { steps: randomTree(random, depth - 1) } : { use: pick(["a.x", "b.y"]) };
    return {
      ...inner,
      times: 1 + Math.floor(random() * 3),
      parallel: random() < 0.5,
      spawn: random() < 0.2,
      chance: pick([0, 1, 1]),
      timeout_ms: pick([null, LONG_MS]),
      retries: pick([0, 2]),
      hedge_ms: pick([null, LONG_MS]),
    };
  });
}

async function settle(played: Played): Promise<void> {
  for (let n = 0; n < played.unattended.length; n++) await played.unattended[n];
}

test.each(Array.from({ length: 300 }, (_, seed) => seed))("every step happens as often as it says, seed %i", async (seed) => {
  const tree = randomTree(randomNumbers(seed), 2);
  const played = counting();
  await played.player.play(steps(...tree), call());
  await settle(played);
  const expected = Object.entries(counted(tree)).filter(([, often]) => often > 0);
  expect(played.counts).toEqual(Object.fromEntries(expected));
});

describe("a policy", () => {
  test("retries what may go better, and counts the pause as the client's", async () => {
    const { player, counts } = counting((_, attempt) => {
      if (attempt < 3) throw new PlatformError(503, "platform", "again");
      return null;
    });
    const asked = call();
    await player.play(steps({ use: "a.x", retries: 2, backoff_ms: 20 }), asked);
    expect(counts["a.x"]).toBe(3);
    const clientMs = Number(/client;dur=([0-9.]+)/.exec(asked.spent.serverTiming())?.[1]);
    expect(clientMs).toBeGreaterThan(40);
  });

  test("does not repeat what is wrong in itself", async () => {
    const { player, counts } = counting(() => {
      throw new RequestError(400, "bad_field", "no");
    });
    await expect(player.play(steps({ use: "a.x", retries: 5 }), call())).rejects.toThrow("no");
    expect(counts["a.x"]).toBe(1);
  });

  test("gives an attempt up after its timeout; what it began goes on", async () => {
    let ended = 0;
    const played = counting(async () => {
      await sleep(30);
      ended++;
      return null;
    });
    await expect(played.player.play(steps({ use: "a.x", timeout_ms: 1 }), call())).rejects.toThrow("more than 1 ms");
    expect(ended).toBe(0);
    await settle(played);
    expect(ended).toBe(1);
  });

  test("hedges: the second copy answers when the first is slow", async () => {
    const played = counting(async (_, attempt) => {
      if (attempt === 1) await sleep(200);
      return new Response(String(attempt));
    });
    const answer = await played.player.play(steps({ use: "a.x", hedge_ms: 5 }), call());
    expect(await answer?.text()).toBe("2");
    expect(played.counts["a.x"]).toBe(2);
    await settle(played);
  });
});

test("a preparation does every step whatever its chance, and waits for what would be spawned", async () => {
  const { player, counts, unattended } = counting();
  await player.play(steps({ use: "a.x", chance: 0.001 }, { use: "b.y", spawn: true }), call({ prepares: true }));
  expect(counts).toEqual({ "a.x": 1, "b.y": 1 });
  expect(unattended).toEqual([]);
});

test("a chance is taken as often as it says, and the same request decides the same way", async () => {
  const one = steps({ use: "a.x", chance: 0.2 });
  const decide = async (): Promise<number> => {
    const { player, counts } = counting();
    for (let n = 0; n < 5_000; n++) await player.play(one, call({ requestId: `run-${n}` }));
    return counts["a.x"] ?? 0;
  };
  const taken = await decide();
  // Five standard deviations of a binomial count.
  expect(Math.abs(taken - 1_000)).toBeLessThan(5 * Math.sqrt(5_000 * 0.2 * 0.8));
  expect(await decide()).toBe(taken);
});

test("of what runs at once the first failure fails", async () => {
  const played = counting((step) => {
    if (step.instance === "b") throw new PlatformError(503, "platform", "b failed");
    return null;
  });
  const group = { steps: [{ use: "a.x" }, { use: "b.y" }, { use: "a.x" }], parallel: true };
  await expect(played.player.play(steps(group), call())).rejects.toThrow("b failed");
  await settle(played);
  expect(played.counts).toEqual({ "a.x": 2, "b.y": 1 });
});

test("further repetitions have numbers of their own, nested ones too", async () => {
  const seen: number[] = [];
  const operate = async (_: Step, one: { repetitionIndex: number }): Promise<Answer> => {
    seen.push(one.repetitionIndex);
    return null;
  };
  await new Player(operate, 0, () => undefined).play(steps({ steps: [{ use: "a.x", times: 2 }], times: 3 }), call());
  expect(seen).toEqual([0, 1, 2, 3, 4, 5]);
});

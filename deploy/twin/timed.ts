/** Bindings whose time is attributed to an instance, for code that knows nothing of it. */

import type { Spent } from "./spent.ts";

/** What hands on a part of a binding: its calls are timed too. */
const HANDS_ON = new Set(["prepare", "bind", "get"]);
const bare = new WeakMap<object, object>();

/** Return an object that does what the target does, and attributes the time of what it waits for. */
export function timed<T extends object>(target: T, category: string, spent: Spent): T {
  const proxy = new Proxy(target, {
    get(of, name): unknown {
      const value: unknown = Reflect.get(of, name, of);
      if (typeof value !== "function") return value;
      return (...given: unknown[]): unknown => {
        const result: unknown = Reflect.apply(value, of, given.map(unwrapped));
        if (result instanceof Promise) return spent.during(category, async () => result as unknown);
        const isPart = HANDS_ON.has(String(name)) && typeof result === "object" && result !== null;
        return isPart ? timed(result, category, spent) : result;
      };
    },
  });
  bare.set(proxy, target);
  return proxy;
}

function unwrapped(given: unknown): unknown {
  if (Array.isArray(given)) return given.map(unwrapped);
  return typeof given === "object" && given !== null ? (bare.get(given) ?? given) : given;
}

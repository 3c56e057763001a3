/** Decisions by chance, looked up by seed and name: the same request decides the same way whenever it is sent. */

import { crc32 } from "../src/hashing.ts";

/** Return a number in [0, 1) that depends on nothing but its arguments (SplitMix32 over a CRC of them). */
export function uniform(seed: number, ...names: (string | number)[]): number {
  let state = (crc32([seed, ...names].join("/")) + 0x9e3779b9) | 0;
  state = Math.imul(state ^ (state >>> 16), 0x21f0aaad);
  state = Math.imul(state ^ (state >>> 15), 0x735a2d97);
  return ((state ^ (state >>> 15)) >>> 0) / 2 ** 32;
}

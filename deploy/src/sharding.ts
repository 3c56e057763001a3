/** Which object a key belongs to: one of its own, or one of a fixed number that share all keys. */

import { crc32 } from "./hashing.ts";

/** Return the name of the object that an organisation belongs to; without a number of shards it has its own. */
export function objectName(organizationId: string, shards: number | null): string {
  if (shards === null) return organizationId;
  const numbered = /^org-([0-9]{1,18})$/.exec(organizationId);
  const key = numbered ? BigInt(numbered[1]!) : BigInt(crc32(organizationId));
  return `shard-${key % BigInt(shards)}`;
}

export function organizationOf(key: number): string {
  return `org-${key}`;
}

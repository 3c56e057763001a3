/** Access control: keys, stored as hashes, with scopes. Without keys the deployment is open.
 *
 * ACCESS_KEYS is a secret that holds a JSON list of {"key_sha256", "organization_id", "scopes"}; the keys themselves are
 * nowhere. A key is for one organisation or, with null, for all.
 */

import { timingSafeEqual } from "node:crypto";
import { HttpError, RequestError } from "./errors.ts";
import { sha256Hex } from "./hashing.ts";

export const SCOPES = ["write", "read", "flush", "council", "download", "upload"] as const;
export type Scope = (typeof SCOPES)[number];
/** Required in every 401 (RFC 9110, 15.5.2). */
const CHALLENGE = { "www-authenticate": 'Bearer realm="headroom"' };

interface Grant {
  key_sha256: string;
  organization_id: string | null;
  scopes: Scope[];
}

export class Gatekeeper {
  private readonly grants: Grant[];

  constructor(keys: string) {
    this.grants = readGrants(keys);
  }

  /** Check that the key of a request has a scope: 401 without a known key, 403 if the key lacks it. */
  check(request: Request, scope: Scope): void {
    const { scopes } = this.grantOf(request);
    if (scopes.includes(scope)) return;
    const message = `the key has not the scope ${scope}; it has ${[...scopes].sort().join(", ")}`;
    throw new RequestError(403, "scope_missing", message);
  }

  /** Check that the key of a request is for an organisation. */
  checkOrganization(request: Request, organizationId: string): void {
    const own = this.grantOf(request).organization_id;
    if (own === null || own === organizationId) return;
    const message = `the key is not for ${organizationId}; use that one's own`;
    throw new RequestError(403, "wrong_organization", message);
  }

  private grantOf(request: Request): Grant {
    const [scheme = "", ...rest] = (request.headers.get("authorization") ?? "").split(" ");
    const key = rest.join(" ").trim();
    if (scheme.toLowerCase() !== "bearer" || !key) {
      throw new RequestError(401, "no_key", "authorization is absent; send 'Bearer' and a key", CHALLENGE);
    }
    const hashed = Buffer.from(sha256Hex(key));
    // Every hash is compared, in constant time each, so that the time tells nothing about them.
    const [grant] = this.grants.filter((one) => timingSafeEqual(Buffer.from(one.key_sha256), hashed));
    if (!grant) throw new RequestError(401, "unknown_key", "the key is not known; ask the operator for one", CHALLENGE);
    return grant;
  }
}

function readGrants(text: string): Grant[] {
  const grants = JSON.parse(text) as Grant[];
  const fits = (grant: Grant): boolean =>
    /^[0-9a-f]{64}$/.test(grant.key_sha256) &&
    (grant.organization_id === null || typeof grant.organization_id === "string") &&
    grant.scopes.length > 0 &&
    grant.scopes.every((scope) => SCOPES.includes(scope));
  // A deployment whose keys cannot be read is closed, not open.
  if (!Array.isArray(grants) || !grants.every(fits)) {
    throw new HttpError(500, "internal", "ACCESS_KEYS must be a list of key_sha256, organization_id and scopes");
  }
  return grants;
}

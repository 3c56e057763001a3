"""Access control with API keys, which are stored as hashes and have scopes.

Without keys the deployment is open, which is acceptable only on loopback: anyone who can reach ``/flush`` can make
it call the payment provider at any rate, anyone who can reach ``/log`` can charge any organisation (hazard H10), and
anyone can replace an adapter. With keys, every request to the API needs one in ``authorization: Bearer ...``. A key
is valid for one organisation or for all, and has scopes. The operator's routes (``/health``, ``/metrics``,
``/openapi.json``) require no key.

A key file is a JSON list of objects with exactly three fields::

    [
        {"key_sha256": "64 hexadecimal digits", "organization_id": "org-7", "scopes": ["write", "read"]},
        {"key_sha256": "...", "organization_id": null, "scopes": ["download", "upload"]},
    ]

========  ==========================================================================
write     ``POST /log`` for the key's organisation; ``null`` means any
read      ``GET /balance``, likewise
flush     ``POST /flush``, likewise
council   everything under ``/synapse``
download  ``GET /loras`` and ``GET`` of an adapter; adapters belong to no organisation
upload    ``PUT`` of an adapter
========  ==========================================================================

Sources
-------
Hazard H10 (docs/HAZARDS.md). RFC 6750 (bearer keys). Key prefix ``si_`` and scopes are the origin's (docs/GLOSSARY.md).
"""

import hashlib
import hmac
import json
import re
from dataclasses import dataclass

from reference_impl.errors import ConfigError, RequestError
from reference_impl.messages import Request

SCOPES = ("write", "read", "flush", "council", "download", "upload")
CHALLENGE = {"www-authenticate": 'Bearer realm="headroom"'}
"""Required in every 401 (RFC 9110, 15.5.2)."""
SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Grant:
    """The permissions of one key.

    Parameters
    ----------
    key_sha256
        The key's hash (64 hexadecimal digits); the key itself is not stored.
    organization_id
        The organisation that the key is valid for; None: all.
    scopes
        A subset of :data:`SCOPES`.
    """

    key_sha256: str
    organization_id: str | None
    scopes: frozenset[str]


class Gatekeeper:
    """Checks the keys of requests.

    Parameters
    ----------
    grants
        All known keys.
    """

    def __init__(self, grants: list[Grant]) -> None:
        self._grants = grants

    def check(self, request: Request, scope: str) -> None:
        """Check that the key of *request* has the scope *scope*.

        Raises
        ------
        RequestError
            401 without a known key, 403 if the key lacks the scope.
        """
        grant = self._grant_of(request)
        if scope not in grant.scopes:
            allowed = ", ".join(sorted(grant.scopes))
            raise RequestError(403, "scope_missing", f"the key has not the scope {scope}; it has {allowed}")

    def check_organization(self, request: Request, organization_id: str) -> None:
        """Check that the key of *request* is for *organization_id*.

        Raises
        ------
        RequestError
            401 without a known key, 403 if the key is for another organisation.
        """
        if self._grant_of(request).organization_id not in (None, organization_id):
            raise RequestError(403, "wrong_organization", f"the key is not for {organization_id}; use that one's own")

    def _grant_of(self, request: Request) -> Grant:
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not key.strip():
            rule = "authorization is absent; send 'Bearer' and a key"
            raise RequestError(401, "no_key", rule, headers=CHALLENGE)
        grant = self._find(key.strip())
        if grant is None:
            rule = "the key is not known; ask the operator for one"
            raise RequestError(401, "unknown_key", rule, headers=CHALLENGE)
        return grant

    def _find(self, key: str) -> Grant | None:
        hashed = hashlib.sha256(key.encode()).hexdigest()
        found = None
        # Every hash is compared, each in constant time, so that the duration reveals nothing about them.
        for grant in self._grants:
            if hmac.compare_digest(grant.key_sha256, hashed):
                found = grant
        return found


def read_grants(text: str) -> list[Grant]:
    """Parse a key file: a JSON list of ``{"key_sha256", "organization_id", "scopes"}``.

    Raises
    ------
    ConfigError
        If it is malformed.
    """
    try:
        entries = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"the key file is no JSON: {error}") from None
    if not isinstance(entries, list):
        raise ConfigError(f"the key file holds a {type(entries).__name__}; it must be a list")
    return [_read_grant(position, entry) for position, entry in enumerate(entries)]


def _read_grant(position: int, entry: object) -> Grant:
    if not isinstance(entry, dict) or set(entry) != {"key_sha256", "organization_id", "scopes"}:
        raise ConfigError(f"key {position} must have key_sha256, organization_id and scopes, and nothing else")
    hashed, organization_id, scopes = entry["key_sha256"], entry["organization_id"], entry["scopes"]
    if not isinstance(hashed, str) or not SHA256.fullmatch(hashed):
        raise ConfigError(f"key {position}: key_sha256 must be 64 hexadecimal digits; never write the key itself")
    if organization_id is not None and not isinstance(organization_id, str):
        raise ConfigError(f"key {position}: organization_id must be a name or null")
    if not isinstance(scopes, list) or not scopes or not set(scopes) <= set(SCOPES):
        raise ConfigError(f"key {position}: scopes must be some of {', '.join(SCOPES)}")
    return Grant(hashed, organization_id, frozenset(scopes))

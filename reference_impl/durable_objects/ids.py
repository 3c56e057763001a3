"""Ids of Durable Objects: 64 hexadecimal digits, tagged with their namespace.

The first 24 bytes identify the object (a hash of its name, or entropy); the last 8 are a tag computed from these bytes
and the namespace. So an id from another namespace, or with a mistyped digit, is recognised without a lookup.

Sources
-------
Durable Objects identifiers: from a name, unique, from a string; an id is valid for its own namespace
only.
"""

import hashlib
import re
from functools import lru_cache

from reference_impl.errors import ConfigError, RequestError

ENTROPY_BYTES = 24
TAG_BYTES = 8
WELL_FORMED = re.compile(r"[0-9a-f]{64}")


@lru_cache(maxsize=4_096)
def from_name(namespace: str, name: str) -> str:
    """Return the id that *name* always has in *namespace*."""
    return _tagged(namespace, hashlib.sha256(f"{namespace}/{name}".encode()).digest()[:ENTROPY_BYTES])


def unique(namespace: str, entropy: bytes) -> str:
    """Return an id that is derived from no name.

    Raises
    ------
    ConfigError
        If *entropy* is not 24 bytes.
    """
    if len(entropy) != ENTROPY_BYTES:
        raise ConfigError(f"{len(entropy)} bytes of entropy; an id is made of {ENTROPY_BYTES}")
    return _tagged(namespace, entropy)


def from_string(namespace: str, text: str) -> str:
    """Check that *text* is an id of *namespace* and return it.

    Raises
    ------
    RequestError
        If it is not.
    """
    if WELL_FORMED.fullmatch(text):
        body = bytes.fromhex(text)[:ENTROPY_BYTES]
        if _tagged(namespace, body) == text:
            return text
    raise RequestError(400, "bad_id", f"{text[:80]!r} is not an object id of {namespace}; use one that it issued")


def _tagged(namespace: str, body: bytes) -> str:
    tag = hashlib.sha256(namespace.encode() + b"\0" + body).digest()[:TAG_BYTES]
    return (body + tag).hex()

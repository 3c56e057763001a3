"""Identities of Durable Objects: 64 hexadecimal digits that name their own namespace.

The first 24 bytes say which object it is (a hash of its name, or entropy), the last 8 are a tag of the
namespace over them. So an id from another namespace, or with a digit mistyped, is known as such
without looking anything up.

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
    """Return an id that no name leads to.

    Raises
    ------
    ConfigError
        If there are not 24 bytes of *entropy*.
    """
    if len(entropy) != ENTROPY_BYTES:
        raise ConfigError(f"{len(entropy)} bytes of entropy; an id is made of {ENTROPY_BYTES}")
    return _tagged(namespace, entropy)


def from_string(namespace: str, text: str) -> str:
    """Return *text* as an id of *namespace*.

    Raises
    ------
    RequestError
        If it is none.
    """
    if WELL_FORMED.fullmatch(text):
        body = bytes.fromhex(text)[:ENTROPY_BYTES]
        if _tagged(namespace, body) == text:
            return text
    raise RequestError(400, "bad_id", f"{text[:80]!r} is no object id of {namespace}; take one that it gave")


def _tagged(namespace: str, body: bytes) -> str:
    tag = hashlib.sha256(namespace.encode() + b"\0" + body).digest()[:TAG_BYTES]
    return (body + tag).hex()

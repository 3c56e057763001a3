"""Which object a key belongs to: one of its own, or one of a fixed number that share all keys."""

import re
import zlib

NUMBERED_ORGANIZATION = re.compile(r"org-([0-9]{1,18})")


def object_name(organization_id: str, shards: int | None) -> str:
    """Return the name of the object that an organisation belongs to.

    Parameters
    ----------
    organization_id
        ``org-7`` has the key 7; any other name has a key made from its letters.
    shards
        How many objects share all organisations; None gives each its own.
    """
    if shards is None:
        return organization_id
    numbered = NUMBERED_ORGANIZATION.fullmatch(organization_id)
    key = int(numbered.group(1)) if numbered else zlib.crc32(organization_id.encode())
    return f"shard-{key % shards}"


def organization_of(key: int) -> str:
    """Return the organisation that has *key*."""
    return f"org-{key}"

"""The mapping from organisations to objects: one object each, or a fixed number of shards."""

import re
import zlib

NUMBERED_ORGANIZATION = re.compile(r"org-([0-9]{1,18})")


def object_name(organization_id: str, shards: int | None) -> str:
    """Return the name of the object that holds an organisation's state.

    Parameters
    ----------
    organization_id
        ``org-7`` has the key 7; the key of any other name is a checksum of it.
    shards
        Number of objects that share all organisations; None: one object each.
    """
    if shards is None:
        return organization_id
    numbered = NUMBERED_ORGANIZATION.fullmatch(organization_id)
    key = int(numbered.group(1)) if numbered else zlib.crc32(organization_id.encode())
    return f"shard-{key % shards}"


def organization_of(key: int) -> str:
    """Return the organisation id of *key*."""
    return f"org-{key}"

"""The object keys that the brief's API may store: nine patterns."""

import re

from reference_impl.r2.bucket import R2Error, check_key

NAME = "[A-Za-z0-9][A-Za-z0-9_.-]{0,127}"
KEY_SHAPES = tuple(
    re.compile(shape)
    for shape in (
        r"models/[a-z0-9][a-z0-9.-]{0,127}\.gguf",
        rf"loras/{NAME}/(adapter\.safetensors|metadata\.json|README\.md)",
        rf"training/datasets/{NAME}/dataset\.jsonl",
        rf"training/outputs/{NAME}/adapter\.safetensors",
        rf"knowledge/{NAME}/embeddings\.db",
    )
)


def check_shape(key: str) -> None:
    """Check that *key* matches one of the brief's patterns.

    Raises
    ------
    R2Error
        400, code 10020, if it does not.
    """
    check_key(key)
    if ".." in key or not any(shape.fullmatch(key) for shape in KEY_SHAPES):
        raise R2Error(400, 10020, f"{key[:80]!r} is no key of this bucket; see reference_impl/workers/keys.py")


def adapter_key(lora_id: str) -> str:
    """Return the key of an adapter's weights."""
    key = f"loras/{lora_id}/adapter.safetensors"
    check_shape(key)
    return key

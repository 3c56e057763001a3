"""The keys of the brief's bucket: nine shapes and no more.

Goal: nothing but the brief's objects is ever stored through the brief's API. Method: every shape, keys that miss one by
a little, and names drawn by Hypothesis.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference_impl.r2.bucket import R2Error
from reference_impl.workers.keys import adapter_key, check_shape

KEYS = [
    "models/phi-3-mini-4k-instruct-q4.gguf",
    "models/llama-3.2-8b-instruct-q4.gguf",
    "models/bge-micro-v1.5.gguf",
    "loras/lora-1/adapter.safetensors",
    "loras/lora-1/metadata.json",
    "loras/lora-1/README.md",
    "training/datasets/job-1/dataset.jsonl",
    "training/outputs/job-1/adapter.safetensors",
    "knowledge/user-1/embeddings.db",
]
BAD_KEYS = [
    "",
    "/",
    "loras//adapter.safetensors",
    "loras/../adapter.safetensors",
    "loras/a..b/adapter.safetensors",
    "loras/a/b/adapter.safetensors",
    "loras/a/other.bin",
    "loras/a/adapter.safetensors\n",
    "loras/ä/adapter.safetensors",
    "../loras/a/adapter.safetensors",
    "loras/" + "a" * 129 + "/adapter.safetensors",
    "models/.gguf",
]


@pytest.mark.parametrize("key", KEYS)
def test_each_of_the_nine_shapes_is_a_key(key: str) -> None:
    check_shape(key)


@pytest.mark.parametrize("key", BAD_KEYS)
def test_any_other_key_is_refused(key: str) -> None:
    with pytest.raises(R2Error) as caught:
        check_shape(key)
    assert (caught.value.status, caught.value.code) == (400, "r2_10020")


@given(lora_id=st.text(max_size=140), other=st.text(max_size=140))
def test_keys_are_injective_bounded_and_stay_inside(lora_id: str, other: str) -> None:
    try:
        key, other_key = adapter_key(lora_id), adapter_key(other)
    except R2Error:
        return
    assert (key == other_key) == (lora_id == other)
    assert len(key.encode()) <= 1_024
    assert key.count("/") == 2
    assert ".." not in key

"""The stub of an inference endpoint: its minute, its adapters, its answers and what they cost.

Goal: the account's limits hold whoever calls when. Method: calls at times drawn by Hypothesis against the rules; routes
of a whole deployment under a virtual clock.
"""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference_impl.deployment_file import Specification
from reference_impl.errors import ConfigError
from reference_impl.messages import Response
from reference_impl.tables import Table
from reference_impl.timing.clock import VirtualClock
from reference_impl.timing.stopwatch import Stopwatch
from reference_impl.workers_ai.endpoint import Answer, Endpoint, EndpointSettings, InferenceError, answer_to
from tests.support.routed import request, route, routed

MODEL: dict[str, Any] = {
    "rtt_ms": 20, "first_token_ms": 200, "tokens_in": 300, "tokens_out": 100, "input_token_us": 100,
    "output_token_ms": 10, "neurons_per_million_tokens": [25_608, 75_147],
}  # fmt: skip
CALL_MS = 20 + 200 + 30 + 1_000


def endpoint(**table: Any) -> tuple[Endpoint, VirtualClock]:
    settings = EndpointSettings.read(Table("system.workers_ai", {**MODEL, **table}))
    return Endpoint(settings), VirtualClock()


def call(model: Endpoint, clock: VirtualClock, *, key: int = 0) -> tuple[Answer | InferenceError, Stopwatch]:
    watch = Stopwatch(clock)
    try:
        return clock.run(model.run("hello", watch, key=key))[0], watch
    except InferenceError as error:
        return error, watch


@given(st.lists(st.integers(0, 30_000), min_size=1, max_size=40), st.integers(1, 5))
def test_no_minute_takes_more_calls_than_its_limit(waits_ms: list[int], most: int) -> None:
    model, clock = endpoint(rtt_ms=0, first_token_ms=0, tokens_in=0, tokens_out=0, minute_calls_max=most)
    taken_ms: list[float] = []
    for wait_ms in waits_ms:
        clock.advance(wait_ms)
        began_ms = clock.now_ms()
        answer, _ = call(model, clock)
        window = [at_ms for at_ms in taken_ms if at_ms > began_ms - 60_000]
        if isinstance(answer, InferenceError):
            assert answer.status == 429
            assert len(window) >= most, "a call is refused only after as many in the last minute"
        else:
            taken_ms.append(began_ms)
    for since_ms in taken_ms:
        # Of two minutes that touch, each takes its own.
        assert sum(since_ms <= at_ms < since_ms + 60_000 for at_ms in taken_ms) <= 2 * most


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 4_000)), min_size=1, max_size=30))
def test_adapter_is_loaded_if_no_call_has_used_it_lately(calls: list[tuple[int, int]]) -> None:
    model, clock = endpoint(rtt_ms=0, loras=3, lora_bytes=1_000, lora_load_ms=300, lora_bytes_per_s=1e6, lora_idle_s=2)
    used_ms: dict[int, float] = {}
    for key, wait_ms in calls:
        clock.advance(wait_ms)
        adapter, began_ms = key % 3, clock.now_ms()
        loads = began_ms - used_ms.get(adapter, -1e9) >= 2_000
        before = model.loads
        _, watch = call(model, clock, key=key)
        assert model.loads - before == loads
        assert watch.planned_ms - began_ms == pytest.approx(CALL_MS - 20 + 301 * loads)
        used_ms[adapter] = began_ms + 301 * loads


@given(st.text(max_size=20), st.integers(0, 500))
def test_answer_has_as_many_words_as_tokens(prompt: str, tokens: int) -> None:
    assert len(answer_to(prompt, tokens=tokens).split()) == tokens
    assert answer_to(prompt, tokens=tokens) == answer_to(prompt, tokens=tokens)


def test_answer_counts_tokens_and_neurons() -> None:
    model, clock = endpoint()
    answer, watch = call(model, clock)
    assert isinstance(answer, Answer)
    assert (answer.tokens_in, answer.tokens_out) == (300, 100)
    assert model.billed["neurons"] == pytest.approx((300 * 25_608 + 100 * 75_147) / 1e6)
    assert watch.spent_ms == {"workers_ai": CALL_MS}


def test_route_answers_as_the_platform_does_and_is_refused_with_429() -> None:
    system = {"network": {}, "workers_ai": {**MODEL, "minute_calls_max": 2}}
    with routed({"one": route("workers_ai.infer", method="POST")}, system) as w:
        answers: list[Response] = [w.ask(request(method="POST", body=b"hello"))[0] for _ in range(3)]
        assert [answer.status for answer in answers] == [200, 200, 429]
        result = json.loads(answers[0].body)["result"]
        assert result["usage"] == {"prompt_tokens": 300, "completion_tokens": 100, "total_tokens": 400}
        assert len(result["response"].split()) == 100
        assert b"at most 2 calls a minute" in answers[2].body
        w.clock.run_until(w.clock.now_ms() + 60_000)
        assert w.ask(request(method="POST", body=b"hello"))[0].status == 200


def test_no_capacity_is_429_with_the_platforms_code() -> None:
    model, clock = endpoint(capacity_error_fraction=1)
    error, _ = call(model, clock)
    assert isinstance(error, InferenceError)
    assert (error.status, str(error)[:5]) == (429, "3040:")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"loras": 101}, r"system\.workers_ai\.loras=101 must be <= 100"),
        ({"loras": 1, "lora_bytes": 300_000_000}, r"system\.workers_ai\.lora_bytes=300000000 must be < 300000000"),
        ({"neurons_per_million_tokens": [1]}, r"system\.workers_ai\.neurons_per_million_tokens=\[1\] must be two"),
    ],
)
def test_account_that_cannot_be_is_refused(table: dict[str, Any], message: str) -> None:
    content = {
        "system": {"network": {}, "workers_ai": {**MODEL, **table}},
        "routes": {"one": route("workers_ai.infer")},
    }
    with pytest.raises(ConfigError, match=message):
        Specification.read(content)

"""The model of a Workers AI call: its time by tokens, adapters, calls of a minute, neurons on the bill.

Goal: what is refused, what waits for an adapter and what is billed are the account's rules. Method: the rules written
again over the requests of a run; the provider's price list, which names dollars and neurons side by side.
"""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim import run
from sim.judgement.cost import cost, price, usage_per_month
from sim.judgement.cost.bill import line_of
from sim.models.registry import meters
from sim.scenario.scenario import Scenario
from tests.support.frames import PLATFORM
from tests.support.routes import KNOWN_TIMES, of_steps, refusal

TABLE: dict[str, Any] = {
    "rtt_ms": 20.0, "first_token_ms": 200.0, "tokens_in": 300.0, "tokens_out": 100.0, "input_token_us": 100.0,
    "output_token_ms": 10.0, "neurons_per_million_tokens": [25_608.0, 75_147.0], "minute_calls_max": 1_000_000,
    "capacity_error_fraction": 0.0, "loras": 0, "lora_bytes": 100_000_000, "lora_load_ms": 300.0,
    "lora_bytes_per_s": 1e9, "lora_idle_s": 2.0, "loras_max": 100, "lora_bytes_max": 300_000_000,
}  # fmt: skip
CALL_MS = 20 + 200 + 30 + 1_000
LOAD_MS = 300 + 100
PRICES_USD = {
    "llama-3.2-1b-instruct": (0.027, 0.201),
    "llama-3.2-3b-instruct": (0.051, 0.335),
    "llama-3.1-8b-instruct-fp8-fast": (0.045, 0.384),
    "llama-3.1-8b-instruct": (0.282, 0.827),
    "llama-3.3-70b-instruct-fp8-fast": (0.293, 2.253),
    "deepseek-r1-distill-qwen-32b": (0.497, 4.881),
    "mistral-7b-instruct-v0.1": (0.110, 0.190),
    "bge-small-en-v1.5": (0.020, 0.0),
    "bge-base-en-v1.5": (0.067, 0.0),
    "bge-large-en-v1.5": (0.204, 0.0),
}
"""Dollars a million tokens read and written, as workers-ai/platform/pricing lists them beside the neurons."""
(NEURONS,) = [one for one in meters() if one.name == "workers_ai.neurons"]
INCLUDED = 30 * 10_000


def model(**table: Any) -> Scenario:
    return KNOWN_TIMES.vary("system.workers_ai", {**TABLE, **table})


def played(engine: str = "compiled", requests: int = 3_000, **table: Any) -> pd.DataFrame:
    return run(of_steps("workers_ai.infer", scenario=model(**table)), on=engine, requests=requests, rng=4).frame


def test_engines_agree_request_by_request() -> None:
    law = {"distribution": "lognormal", "median": 150.0, "p99": 900.0}
    table: dict[str, Any] = {
        "tokens_out": law, "first_token_ms": law, "loras": 7, "capacity_error_fraction": 0.05,
        "minute_calls_max": 1_500,
    }  # fmt: skip
    frames = [played(engine, **table) for engine in ("simpy", "compiled")]
    assert np.array_equal(frames[0]["latency_ms"], frames[1]["latency_ms"])
    assert np.array_equal(frames[0]["outcome"], frames[1]["outcome"])
    assert {"ok", "refused"} == set(frames[0]["outcome"])


@settings(max_examples=25, deadline=None)
@given(
    tokens_in=st.integers(0, 10_000),
    tokens_out=st.integers(0, 2_000),
    more_in=st.integers(0, 1_000),
    more_out=st.integers(0, 1_000),
)
def test_time_and_neurons_grow_with_the_tokens(tokens_in: int, tokens_out: int, more_in: int, more_out: int) -> None:
    less, more = (
        {"tokens_in": float(read), "tokens_out": float(written)}
        for read, written in ((tokens_in, tokens_out), (tokens_in + more_in, tokens_out + more_out))
    )
    times = [played("simpy", requests=1, **table)["workers_ai_ms"].to_numpy()[0] for table in (less, more)]
    assert times[1] - times[0] == pytest.approx(more_in * 0.1 + more_out * 10.0, abs=1e-6)
    used = [
        usage_per_month(of_steps("workers_ai.infer", scenario=model(**table)), 1e6)["workers_ai.neurons"]
        for table in (less, more)
    ]
    assert used[1] - used[0] == pytest.approx(more_in * 25_608 + more_out * 75_147, rel=1e-9, abs=1e-6)


def test_call_takes_its_trip_its_prompt_and_its_answer() -> None:
    frame = played(requests=50)
    assert frame["workers_ai_ms"].to_numpy() == pytest.approx(CALL_MS)


def test_more_calls_than_those_of_a_minute_are_refused() -> None:
    most = 800
    frame = played(requests=12_000, minute_calls_max=most)
    arrived_ms = frame["arrival_ms"].to_numpy() + 10.0
    ends_ms, made, refused = -np.inf, 0, np.zeros(len(frame), dtype=bool)
    for row, at_ms in enumerate(arrived_ms.tolist()):
        if at_ms >= ends_ms:
            ends_ms, made = at_ms + 60_000.0, 0
        refused[row] = made >= most
        made += not refused[row]
    assert np.array_equal(frame["outcome"] == "refused", refused)
    assert 0 < refused.sum() < len(frame)
    assert frame.loc[refused, "latency_ms"].to_numpy() == pytest.approx(20.0), "there and back"


def test_adapter_is_loaded_by_the_first_call_and_after_a_pause() -> None:
    loras = 40
    frame = played(loras=loras, requests=2_000)
    used_ms: dict[int, list[float]] = {}
    cold = np.zeros(len(frame), dtype=bool)
    for row, (at_ms, key) in enumerate(zip(frame["arrival_ms"] + 10.0, frame["key"] % loras, strict=True)):
        uses = used_ms.setdefault(key, [])
        cold[row] = not any(begun <= at_ms < begun + 2_000.0 for begun in uses)
        uses.append(at_ms + (LOAD_MS if cold[row] else 0.0))
    assert frame["workers_ai_ms"].to_numpy() == pytest.approx(CALL_MS + LOAD_MS * cold)
    assert 0.01 < cold.mean() < 0.9


def test_capacity_errors_have_their_share() -> None:
    frame = played(capacity_error_fraction=0.2)
    refused = (frame["outcome"] == "refused").mean()
    assert refused == pytest.approx(0.2, abs=4 * (0.2 * 0.8 / len(frame)) ** 0.5)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"loras": 101}, "system.workers_ai has loras=101, must be <= loras_max=100"),
        ({"loras": 1, "lora_bytes": 300_000_000}, "must be < lora_bytes_max=300000000"),
    ],
)
def test_adapters_that_the_account_refuses_are_one_line(table: dict[str, Any], message: str) -> None:
    found = refusal({"system.workers_ai": {**TABLE, **table}})
    assert len(found) == 1
    assert message in found[0]


@pytest.mark.parametrize("name", PRICES_USD)
def test_neurons_cost_what_the_price_list_says_of_tokens(name: str) -> None:
    """The list has three decimals of a dollar; the neurons are the number that is billed."""
    for per_million, usd in zip(
        PLATFORM.fact(f"workers_ai.neurons_per_million_tokens.{name}").value, PRICES_USD[name], strict=True
    ):
        assert line_of(NEURONS, INCLUDED + per_million, platform=PLATFORM).usd == pytest.approx(usd, abs=0.0006)


@pytest.mark.parametrize(
    ("neurons", "usd"), [(0.0, 0.0), (INCLUDED, 0.0), (INCLUDED + 1_000, 0.011), (10 * INCLUDED, 9 * 3.30)]
)
def test_ten_thousand_neurons_a_day_are_included(neurons: float, usd: float) -> None:
    lines = [line for line in price({"workers_ai.neurons": neurons}, PLATFORM) if line.component == "workers_ai"]
    assert sum(line.usd for line in lines) == pytest.approx(usd, abs=1e-9)


def test_month_of_calls_to_the_cent() -> None:
    """A million calls of 300 tokens read and 100 written: 15.1971 neurons each, less the 300,000 that are included."""
    bill = cost(of_steps("workers_ai.infer", scenario=model()), requests_per_month=1e6)
    (line,) = [line for line in bill.lines if line.component == "workers_ai"]
    assert line.used == pytest.approx(300 * 25_608 + 100 * 75_147)
    assert round(line.usd, 2) == round((15_197_100 - 300_000) * 0.011 / 1_000, 2) == 163.87

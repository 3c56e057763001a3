"""Workers AI: a call of a model, whose time grows with the tokens that it reads and writes.

A call travels to a GPU, is refused if the account has made its calls of this minute (429) or the provider is out of
capacity (429 too), waits until its LoRA adapter is loaded, reads the prompt, and writes the answer token by token. An
adapter stays loaded for some time after its last use; the adapter of a request follows from its key. Several models are
several instances.

Simplifications: the minute of the rate limit begins with the first call after the one before has ended, and refused
calls do not count; concurrent calls with an adapter that is not loaded each wait for a load; numbers of tokens need not
be whole; an answer comes as a whole, so a stream's first token is not seen.

Sources
-------
Workers AI limits (calls a minute by task; LoRA adapters: 100 an account, less than 300 MB, rank up to 32, a base that
is not quantized), errors (3036 and 3040 are status 429), pricing (neurons by tokens read and written, 10,000 a day
without charge). How the provider counts a minute, how long an adapter stays loaded, and all times are assumptions of
the scenario. Inference with adapters is in open beta; it is billed here as its base model.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Self

import numpy as np
from pydantic import Field, model_validator

from sim.flow import (
    Branch,
    Chance,
    Count,
    CountAtLeast,
    Counter,
    Delay,
    Finally,
    Flow,
    Guard,
    Latch,
    Reset,
    Spawn,
    Time,
)
from sim.foundation.schema import Count as Number
from sim.foundation.schema import Fraction, NotNegative, Positive, Table
from sim.models.billing import SECONDS_PER_MINUTE, Call, Runaway, Usage, meter
from sim.models.component import Component, Instance, Metric, NoParameters, Operation, Tier, Uses
from sim.randomness.distributions import Constant, Distribution

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

MS_PER_S = 1_000.0
US_PER_MS = 1_000.0
PER_MILLION = 1e6


class WorkersAI(Table):
    """A model of Workers AI, as one account calls it."""

    rtt_ms: Distribution
    """Round trip between the Worker and the location of the GPU."""
    first_token_ms: Distribution
    """Until a short prompt has its first token: routing, a place in a batch, the start of the answer."""
    tokens_in: Distribution
    """Tokens of a prompt."""
    tokens_out: Distribution
    """Tokens of an answer; 0 for a model that writes none, such as one for embeddings."""
    input_token_us: NotNegative
    """Time for each token of the prompt."""
    output_token_ms: NotNegative
    """Time for each token of the answer."""
    neurons_per_million_tokens: tuple[NotNegative, NotNegative]
    """What the bill counts for a million tokens read, and written:
    ``platform:workers_ai.neurons_per_million_tokens.MODEL``."""
    minute_calls_max: Number
    """Calls of the account in a minute; one more is refused (429): ``platform:workers_ai.rpm.TASK``."""
    capacity_error_fraction: Fraction
    """Share of calls for which the provider has no capacity; they are refused (429)."""
    loras: Annotated[int, Field(ge=0)]
    """LoRA adapters that the requests' keys share; 0: the model as it is."""
    lora_bytes: Number
    """Size of an adapter's file."""
    lora_load_ms: Distribution
    """Until an adapter that is not loaded begins to arrive."""
    lora_bytes_per_s: Positive
    """Speed at which it is loaded."""
    lora_idle_s: Positive
    """An adapter stays loaded for so long after a call has begun to use it."""
    loras_max: Number
    """Most adapters of an account."""
    lora_bytes_max: Number
    """The file of an adapter must be smaller than this."""

    @model_validator(mode="after")
    def _accepted(self) -> Self:
        if self.loras > self.loras_max:
            raise ValueError(
                f"has loras={self.loras}, must be <= loras_max={self.loras_max}: the account holds no more adapters; "
                f"merge some, or serve them elsewhere"
            )
        if self.loras and self.lora_bytes >= self.lora_bytes_max:
            raise ValueError(
                f"has lora_bytes={self.lora_bytes}, must be < lora_bytes_max={self.lora_bytes_max}: a larger file is "
                f"refused; use a lower rank"
            )
        return self


def infer(ai: Instance, _: NoParameters) -> Flow:
    """Call the model: wait for its adapter, read the prompt, write the answer."""
    table: WorkersAI = ai.table
    half = Delay(Time(table.rtt_ms, scale=0.5), ai.stream("rtt"), shared=True)
    busy: Flow = ()
    if table.capacity_error_fraction:
        busy = (Guard(Chance(table.capacity_error_fraction, ai.stream("capacity")), "refused"),)
    answer = (
        *_admitted(ai),
        *busy,
        *_adapter(ai),
        Delay(table.first_token_ms, ai.stream("first_token")),
        Delay(Time(table.tokens_in, scale=table.input_token_us / US_PER_MS), ai.stream("tokens_in")),
        Delay(Time(table.tokens_out, scale=table.output_token_ms), ai.stream("tokens_out")),
    )
    return (half, Finally(answer, (half,)))


def _admitted(ai: Instance) -> Flow:
    """Refuse a call beyond those of the minute; the first one begins a new minute."""
    made = Counter(f"{ai.name}_minute")
    over = Spawn(
        (Reset(made),),
        ai.stream("minute"),
        after=Constant(value=SECONDS_PER_MINUTE * MS_PER_S),
        once=Latch(f"{ai.name}_minute"),
    )
    return (Guard(CountAtLeast(made, ai.table.minute_calls_max), "refused"), Count(made), over)


def _adapter(ai: Instance) -> Flow:
    """Wait for the adapter of the request's key, unless a call has used it lately."""
    table: WorkersAI = ai.table
    if not table.loras:
        return ()
    used = Counter(f"{ai.name}_lora", instances=table.loras)
    bytes_ms = table.lora_bytes / table.lora_bytes_per_s * MS_PER_S
    load = (
        Delay(table.lora_load_ms, ai.stream("lora_load")),
        Delay(Constant(value=bytes_ms), ai.stream("lora_bytes")),
    )
    forget = Spawn((Count(used, by=-1.0),), ai.stream("lora_idle"), after=Constant(value=table.lora_idle_s * MS_PER_S))
    return (Branch(CountAtLeast(used, 1), (), load), Count(used), forget)


def infer_usage(ai: Instance, call: Call) -> Usage:  # noqa: ARG001  # one signature for all
    """Return the usage of a call: the neurons of its tokens; a refused one has none."""
    return Usage({"workers_ai.neurons": _neurons(ai)})


def _neurons(ai: Instance) -> float:
    table: WorkersAI = ai.table
    read, written = table.neurons_per_million_tokens
    served = 1.0 - table.capacity_error_fraction
    return served * (table.tokens_in.expected() * read + table.tokens_out.expected() * written) / PER_MILLION


def call_ms(frame: "pd.DataFrame", uses: Uses) -> "NDArray[np.float64]":
    """Return the time of a call in ms: one value per request and model that it called, the mean of its calls."""
    return uses.mean_ms(frame, columns=("ms",))


def agent_loop(ai: Instance, fact: Callable[[str], float]) -> Usage:  # noqa: ARG001  # one signature for all
    """Return the usage per second of a caller that calls again at once, as often as the rate limit lets it."""
    return Usage({"workers_ai.neurons": ai.table.minute_calls_max / SECONDS_PER_MINUTE * _neurons(ai)})


COMPONENT = Component(
    name="workers_ai",
    label="Workers AI",
    colour="#c51b7d",
    tier=Tier.STORE,
    table=WorkersAI,
    operations={"infer": Operation(infer, usage=infer_usage, services=("workers_ai",), reads=True)},
    meters=(
        meter(
            "workers_ai.neurons", "neurons",
            price="per_1000_neurons", per=1_000.0, included="neurons_included_day", included_period="day",
            free="neurons_included_day",
        ),
    ),
    runaways=(Runaway("agent loop", "an agent calls the model as often as the rate limit lets it", agent_loop),),
    metrics=(Metric("workers_ai_call_ms", "Workers AI call", "ms", call_ms, compared=("p50", "p99")),),
)  # fmt: skip

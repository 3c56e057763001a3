"""A stub of the inference endpoint: no model runs, but its limits, its errors and the accounting of tokens are real.

::

    run ──► calls of this minute ──(429)      adapter loaded? ──► prompt read ──► answer written, token by token
              capacity ──(429)                  └─(no)─ load it

- At most so many calls a minute; the minute begins with the first call that finds none running.
- An account holds a bounded number of LoRA adapters, whose files are smaller than a bound. An adapter that no call has
  begun to use for some time is no longer loaded.
- An answer names the tokens read and written; the neurons that they cost are counted.

Sources
-------
Workers AI limits, LoRA adapters, pricing, errors: 3036 (the account's limit) and 3040 (no capacity) are status 429. The
rate limit has no documented internal code. That the minute begins with a call is this project's reading.
"""

import hashlib
import math
from dataclasses import dataclass

from reference_impl.errors import ConfigError, PlatformError
from reference_impl.tables import Table
from reference_impl.timing.stopwatch import Stopwatch
from reference_impl.timing.tape import Tape
from reference_impl.volumes.metered import Billed

MINUTE_MS = 60_000.0
LORAS_MAX = 100
LORA_BYTES_MAX = 300_000_000
WORDS = ("the", "ledger", "adds", "up", "and", "nobody", "has", "to", "wait")
"""Words of the answers; each stands for one token."""


class InferenceError(PlatformError):
    """The endpoint refuses a call; *internal_code* is the platform's own, if it has one."""

    code = "workers_ai_error"

    def __init__(self, status: int, message: str, *, internal_code: int | None = None) -> None:
        super().__init__(message if internal_code is None else f"{internal_code}: {message}")
        self.status = status


@dataclass(frozen=True)
class Adapters:
    """The LoRA adapters of the account: *count* of them, 0 for none."""

    count: int
    size_bytes: int
    load_ms: Tape
    bytes_per_s: float
    idle_ms: float

    @classmethod
    def read(cls, table: Table) -> "Adapters":
        """Read an account's adapters.

        Raises
        ------
        ConfigError
            If the account takes no such number or size of them.
        """
        found = cls(
            count=table.whole("loras", 0),
            size_bytes=table.whole("lora_bytes", 1),
            load_ms=table.tape("lora_load_ms"),
            bytes_per_s=table.number("lora_bytes_per_s", math.inf) or math.inf,
            idle_ms=table.number("lora_idle_s", math.inf) * 1_000,
        )
        most, limit_bytes = table.whole("loras_max", LORAS_MAX), table.whole("lora_bytes_max", LORA_BYTES_MAX)
        if found.count > most:
            raise ConfigError(f"{table.where('loras')}={found.count} must be <= {most}, the adapters of an account")
        if found.count and found.size_bytes >= limit_bytes:
            raise ConfigError(f"{table.where('lora_bytes')}={found.size_bytes} must be < {limit_bytes}")
        return found


@dataclass(frozen=True)
class EndpointSettings:
    """Settings of one model, read from its table in the deployment file."""

    rtt_ms: Tape
    first_token_ms: Tape
    tokens_in: Tape
    tokens_out: Tape
    input_token_us: float
    output_token_ms: float
    neurons_per_million: tuple[float, float]
    minute_calls_max: int
    capacity_error_share: float
    capacity: Tape
    adapters: Adapters

    @classmethod
    def read(cls, table: Table) -> "EndpointSettings":
        """Read the table of a model."""
        return cls(
            rtt_ms=table.tape("rtt_ms"),
            first_token_ms=table.tape("first_token_ms"),
            tokens_in=table.tape("tokens_in"),
            tokens_out=table.tape("tokens_out"),
            input_token_us=table.number("input_token_us", 0),
            output_token_ms=table.number("output_token_ms", 0),
            neurons_per_million=_pair(table, "neurons_per_million_tokens"),
            minute_calls_max=table.whole("minute_calls_max", 2**53, at_least=1),
            capacity_error_share=table.number("capacity_error_fraction", 0, at_most=1),
            capacity=table.chance("capacity"),
            adapters=Adapters.read(table),
        )


@dataclass(frozen=True)
class Answer:
    """The answer of a call."""

    text: str
    tokens_in: int
    tokens_out: int


class Endpoint:
    """One model, as an account calls it.

    Parameters
    ----------
    settings
        Times, limits, adapters.
    name
        Name of the instance: its time category.
    """

    def __init__(self, settings: EndpointSettings, *, name: str = "workers_ai") -> None:
        self._settings = settings
        self._name = name
        self._minute_ends_ms = -math.inf
        self._calls = 0
        self._used_ms: dict[int, float] = {}
        self.loads = 0
        """Number of times that an adapter was loaded."""
        self.billed = Billed()
        """What the provider would bill until now: ``neurons``."""

    async def run(self, prompt: str, stopwatch: Stopwatch, *, key: int) -> Answer:
        """Answer *prompt* with the adapter of *key*.

        Raises
        ------
        InferenceError
            429: too many calls in this minute, or no capacity.
        """
        settings = self._settings
        with stopwatch.round_trip(self._name, settings.rtt_ms):
            await stopwatch.catch_up()
            if stopwatch.is_paced:  # What only prepares a run is no call of the account.
                self._admit(stopwatch.planned_ms)
            if stopwatch.happens(settings.capacity, settings.capacity_error_share):
                raise InferenceError(429, "no capacity at the moment; ask again later", internal_code=3040)
            if settings.adapters.count:
                await self._ensure_adapter(key % settings.adapters.count, stopwatch)
            first_ms = stopwatch.draw_ms(settings.first_token_ms)
            tokens_in, tokens_out = (stopwatch.draw_ms(tape) for tape in (settings.tokens_in, settings.tokens_out))
            stopwatch.delay(self._name, first_ms)
            stopwatch.delay(self._name, tokens_in * settings.input_token_us / 1_000)
            async with stopwatch.stage(self._name, tokens_out * settings.output_token_ms):
                text = answer_to(prompt, tokens=round(tokens_out))
        return self._accounted(text, tokens_in, tokens_out)

    def _admit(self, now_ms: float) -> None:
        if now_ms >= self._minute_ends_ms:
            self._minute_ends_ms, self._calls = now_ms + MINUTE_MS, 0
        if self._calls >= self._settings.minute_calls_max:
            wait_s = (self._minute_ends_ms - now_ms) / 1_000
            rule = f"at most {self._settings.minute_calls_max} calls a minute; ask again in {wait_s:.0f} s"
            raise InferenceError(429, f"429 Too Many Requests: {rule}")
        self._calls += 1

    async def _ensure_adapter(self, adapter: int, stopwatch: Stopwatch) -> None:
        """Load an adapter, unless a call has begun to use it lately."""
        adapters = self._settings.adapters
        if stopwatch.planned_ms - self._used_ms.get(adapter, -math.inf) >= adapters.idle_ms:
            self.loads += 1
            stopwatch.delay(self._name, stopwatch.draw_ms(adapters.load_ms))
            stopwatch.delay(self._name, adapters.size_bytes / adapters.bytes_per_s * 1_000)
            await stopwatch.catch_up()
        self._used_ms[adapter] = max(stopwatch.planned_ms, self._used_ms.get(adapter, -math.inf))

    def _accounted(self, text: str, tokens_in: float, tokens_out: float) -> Answer:
        read, written = self._settings.neurons_per_million
        self.billed.add("neurons", (tokens_in * read + tokens_out * written) / 1_000_000)
        return Answer(text, round(tokens_in), round(tokens_out))


def answer_to(prompt: str, *, tokens: int) -> str:
    """Return *tokens* words, always the same for one prompt."""
    first = hashlib.sha256(prompt.encode("utf-8", "surrogatepass")).digest()[0]
    return " ".join(WORDS[(first + place) % len(WORDS)] for place in range(tokens))


def _pair(table: Table, key: str) -> tuple[float, float]:
    value = table.take(key, (0, 0))
    is_pair = isinstance(value, list | tuple) and len(value) == 2
    if not is_pair or not all(isinstance(one, int | float) and one >= 0 for one in value):
        raise ConfigError(f"{table.where(key)}={str(value)[:80]} must be two numbers >= 0")
    return float(value[0]), float(value[1])

"""From bindings to instances of components: what a scenario can express, and what it cannot.

Which components there are is asked of the registry, so a binding whose component is added later is expressed then.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from sim.foundation.errors import UsageError
from sim.models.registry import component, components
from sim.scaffold.wrangler import Binding, Config

CONSUMERS = "queues.consumers"
"""Table of consumers: it says how a queue is emptied, and is nothing that a route may use."""

CONSUMER_KEYS = {
    "max_batch_size": "batch_messages",
    "max_batch_timeout": "batch_timeout_s",
    "max_retries": "retries",
    "retry_delay": "retry_delay_s",
    "max_concurrency": "consumers",
}
"""Keys of a consumer's configuration, and those of the table of its queue."""

REASONS = {
    "services": "a service binding: another Worker, whose own load is not simulated",
    "hyperdrive": "a database behind Hyperdrive: say its time as a step of component origin, if there is one",
    CONSUMERS: "a queue consumer: its work runs beside the requests",
    "ai": "inference on Workers AI: say `workers_ai.infer` in the routes that call a model",
    "vectorize": "a vector index: say `vector_search.query` in the routes that search it",
    "browser": "browser rendering",
    "workflows": "a workflow",
    "assets": "static assets: served without the Worker, free of charge",
    "tail_consumers": "a tail Worker",
    "containers": "a container",
}
"""Why a scenario cannot express a binding, where more can be said than that there is no such component."""


@dataclass(frozen=True)
class Part:
    """An instance of the scenario: its name, its component, and the binding that it stands for."""

    name: str
    component: str
    binding: Binding


@dataclass(frozen=True)
class Parts:
    """What a configuration is in a scenario: instances, and a sentence for each thing that has none."""

    found: tuple[Part, ...]
    lacking: tuple[str, ...]

    def of(self, component: str) -> tuple[Part, ...]:
        """List the instances of one component."""
        return tuple(part for part in self.found if part.component == component)


def _component_of(table: str) -> str:
    """Return the component that a table of bindings is named after: ``kv`` for ``kv_namespaces``; empty for none."""
    names = (one.name for one in components())
    return next((name for name in names if re.match(rf"{re.escape(name)}(_|\.|$)", table)), "")


def known(component: str) -> bool:
    """Whether there is a component of this name."""
    return any(one.name == component for one in components())


def parts(config: Config) -> Parts:
    """Say what of *config* a scenario can express."""
    found: list[Part] = []
    lacking: list[str] = []
    for binding in config.bindings:
        kind = _component_of(binding.table)
        if binding.table == CONSUMERS and kind and _fed(binding, config):
            continue  # It is said in the table of its queue.
        if kind and binding.table != CONSUMERS:
            alone = sum(1 for other in config.bindings if other.table == binding.table) == 1
            taken = {part.name for part in found} | {one.name for one in components()}
            found.append(Part(kind if alone else free(slug(binding.name), taken), kind, binding))
        else:
            reason = REASONS.get(binding.table, "there is no component for it")
            if binding.table == "assets" and binding.keys.get("run_worker_first"):
                reason = "static assets behind the Worker (run_worker_first): say a route of workers.compute for them"
            lacking.append(f"{_called(binding)}: {reason}")
    return Parts(tuple(found), (*lacking, *_settings(config)))


def _called(binding: Binding) -> str:
    named = " ".join(word for word in (binding.name, f"({binding.target})" if binding.target else "") if word)
    return f"{binding.table} {named}".strip()


def _fed(consumer: Binding, config: Config) -> bool:
    """Whether the Worker itself sends to the queue that it consumes."""
    return any(one.table == "queues.producers" and one.target == consumer.name for one in config.bindings)


def consumer_settings(part: Part, config: Config) -> dict[str, Any]:
    """Return what the configuration says of the consumer of a queue, as keys of the queue's table.

    Without a consumer the configuration is that of a producer alone: another Worker consumes, on its own bill.
    """
    fields = component(part.component).table.model_fields
    found: dict[str, Any] = {"consumer_billed": False} if part.component == "queues" else {}
    for binding in config.bindings:
        if binding.table == CONSUMERS and binding.name == part.binding.target:
            said = {key: value for key, value in binding.keys.items() if key in CONSUMER_KEYS and value is not None}
            for key, value in said.items():
                _check(config, f"{CONSUMERS} {key}", value, field=fields[CONSUMER_KEYS[key]])
            found = {CONSUMER_KEYS[key]: value for key, value in said.items()}
            found["dead_letters"] = bool(binding.target)
    return {key: value for key, value in found.items() if key in fields}


def _check(config: Config, key: str, value: Any, *, field: FieldInfo) -> None:
    """Refuse a value of the configuration that the platform does not let be.

    Raises
    ------
    UsageError
        With the file, the key and the rule.
    """
    kind: Any = Annotated[field.annotation, *field.metadata]
    try:
        TypeAdapter(kind).validate_python(value, strict=isinstance(value, str))
    except ValidationError as error:
        rule = str(error.errors()[0]["msg"]).replace("Input should be", "must be")
        raise UsageError(f"{config.path}: {key}={value!r} {rule}") from None


def storage_settings(part: Part, config: Config) -> dict[str, Any]:
    """Return the back end of an object whose class this Worker's migrations made, where it is not SQLite."""
    own = part.component == "durable_objects" and not part.binding.keys.get("script_name")
    return {"storage": "kv"} if own and config.classes.get(part.binding.target) == "kv" else {}


def _settings(config: Config) -> Iterator[str]:
    limits, placement = config.settings.get("limits"), config.settings.get("placement")
    if isinstance(limits, dict) and "cpu_ms" in limits:
        yield f"limits.cpu_ms = {limits['cpu_ms']}: longer computing is stopped; a scenario has no such limit"
    if isinstance(placement, dict):
        mode = placement.get("mode", placement)
        if mode == "smart":
            yield (
                'placement = smart: distances are in no configuration; say system.workers.placement = "smart", '
                "placement_rtt_ms (the way there) and calls_rtt_ms (from there to its stores)"
            )
        else:
            yield f"placement = {mode}: say where the Worker runs by the rtt_ms of its stores"
    logged = config.settings.get("observability")
    if isinstance(logged, dict) and logged.get("enabled"):
        sampled = logged.get("head_sampling_rate", 1)
        counted = "an event each is on the bill; " if log_events(config) else ""
        say = "say what the mean request logs as system.workers.log_bytes"
        yield f"observability, {sampled} of requests: {counted}{say}"
    if config.crons and not known("cron"):
        yield f"triggers.crons {', '.join(config.crons)}: there is no component cron yet"


def log_events(config: Config) -> float:
    """Return the events that the mean request adds to the logs: one for its invocation, if it is in the sample.

    Keys of ``observability.logs`` go before those of ``observability``. What a rate that is no number says is 0.
    """
    whole = config.settings.get("observability")
    whole = whole if isinstance(whole, dict) else {}
    logs = whole.get("logs")
    logs = logs if isinstance(logs, dict) else {}
    share = logs.get("head_sampling_rate", whole.get("head_sampling_rate", 1))
    if not logs.get("enabled", whole.get("enabled")) or logs.get("invocation_logs") is False:
        return 0.0
    return share if isinstance(share, int | float) and not isinstance(share, bool) and 0 <= share <= 1 else 0.0


def slug(text: str) -> str:
    """Return a name that a scenario allows.

    >>> slug("MY-DB"), slug("2nd")
    ('my_db', 'x2nd')
    """
    word = re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")[:40] or "part"
    return word if word[0].isalpha() else f"x{word}"


def free(name: str, taken: set[str]) -> str:
    """Return *name*, with a number behind it if it is taken."""
    number, wanted = 2, name
    while wanted in taken:
        wanted, number = f"{name}_{number}", number + 1
    return wanted

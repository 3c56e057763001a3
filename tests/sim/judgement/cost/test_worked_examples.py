"""Every worked bill of the provider, to the cent.

Goal: prices, inclusions and rounding are the provider's own. Method: the examples of its pricing pages, each with the
page that it stands on; amounts are the page's, worked out as the page does.
"""

import pytest

from sim.judgement.cost.bill import line_of, price
from sim.models.billing import Meter, meter, per_million, storage
from sim.models.registry import meters
from tests.support.frames import PLATFORM

WORKERS = "workers/platform/pricing"
OBJECTS = "durable-objects/platform/pricing"
R2 = "r2/pricing"
EVENTS = "workers/observability/logs/workers-logs, until 2026-11-30"
LOGS = "observability/pricing, from 2026-12-01"

PAID = {"workers.plan": 1.0}
DAYS, HOURS, MINUTES, SECONDS = 30, 24, 60, 60
GB_PER_OBJECT = 0.128

EXAMPLES: list[tuple[str, str, dict[str, float], float]] = [
    (WORKERS, "1: 15 M requests of 7 ms", {**PAID, "workers.requests": 15e6, "workers.cpu": 7 * 15e6}, 8.00),
    (WORKERS, "2: 3 M of 15 M are dynamic", {**PAID, "workers.requests": 3e6, "workers.cpu": 7 * 3e6}, 5.00),
    (WORKERS, "3: a cron of 3 minutes", {**PAID, "workers.requests": 720, "workers.cpu": 180_000 * 720}, 6.99),
    (WORKERS, "4: 100 M requests of 7 ms", {**PAID, "workers.requests": 100e6, "workers.cpu": 700e6}, 45.40),
    (
        OBJECTS,
        "1: one object called by a Worker",
        {**PAID, "durable_objects.requests": 1.5e6, "durable_objects.duration": 1e6 * GB_PER_OBJECT},
        5.15,
    ),
    (
        OBJECTS,
        "2: 100 objects with 50 sockets each, 8 hours a day",
        {
            **PAID,
            "durable_objects.requests": 50 * 100 * DAYS,
            "durable_objects.websocket_messages": 50 * 100 * MINUTES * 8 * DAYS,
            "durable_objects.duration": 100 * SECONDS * MINUTES * 8 * DAYS * GB_PER_OBJECT,
        },
        142.95,
    ),
    (
        OBJECTS,
        "3: 100 objects with a message a second, active all month",
        {
            **PAID,
            "durable_objects.requests": 100,
            "durable_objects.websocket_messages": 100 * SECONDS * MINUTES * HOURS * DAYS,
            "durable_objects.duration": 100 * SECONDS * MINUTES * HOURS * DAYS * GB_PER_OBJECT,
        },
        419.30,
    ),
    (
        OBJECTS,
        "4: 100 objects with 100 hibernating sockets each",
        {
            **PAID,
            "durable_objects.requests": 100 * 100,
            "durable_objects.websocket_messages": 100 * 100 * MINUTES * HOURS * DAYS,
            "durable_objects.duration": 100 * 1 * MINUTES * HOURS * DAYS * GB_PER_OBJECT,
        },
        20.65,
    ),
    (R2, "1,000 GB, each read 1,000 times", {"r2.storage": 1_000, "r2.class_a": 1_000, "r2.class_b": 1e6}, 14.85),
    (R2, "asset hosting", {"r2.storage": 10, "r2.class_a": 100_000, "r2.class_b": 10e6 * DAYS}, 104.40),
    (
        R2,
        "infrequent access",
        {
            "r2.infrequent_storage": 1_000,
            "r2.infrequent_class_a": 1_000,
            "r2.infrequent_class_b": 1e6,
            "r2.infrequent_retrieval": 1_000,
        },
        29.90,
    ),
    (R2, "one million and one are two million", {"r2.class_a": 1_000_001}, 4.50),
    (R2, "1.1 GB-month are 2", {"r2.storage": 10 + 1.1}, 2 * 0.015),
    (R2, "1.1 GB retrieved are 2", {"r2.infrequent_retrieval": 1.1}, 0.02),
    (R2, "egress is free", {"r2.egress": 1e6}, 0.0),
    (EVENTS, "1: 15 M requests of 2 events", {"workers.log_events": 15e6 * 2}, 6.00),
    (EVENTS, "2: a tenth of 1,000 M requests of 2 events", {"workers.log_events": 1e9 * 2 * 0.1}, 108.00),
    (LOGS, "75 GB ingested, 20 GB-month stored", {"workers.logs_ingested": 75, "workers.logs_stored": 20}, 7.05),
]


@pytest.mark.parametrize(("page", "example", "usage", "month_usd"), EXAMPLES)
def test_bill_is_the_providers_own(page: str, example: str, usage: dict[str, float], month_usd: float) -> None:
    assert round(sum(line.usd for line in price(usage, PLATFORM)), 2) == pytest.approx(month_usd), (page, example)


def test_fees_of_other_examples_are_told_apart() -> None:
    """100 messages into an object are 5 requests (durable-objects-pricing, footnote 2); outgoing ones have no meter."""
    amounts = {"durable_objects.websocket_messages": 100.0}
    (requests,) = [
        line for line in price(amounts, PLATFORM) if (line.component, line.meter) == ("durable_objects", "requests")
    ]
    assert requests.used == 5
    assert not [one for one in meters() if "outgoing" in one.name]


KV = [
    (per_million("kv.reads", "operations", fact="reads"), 11e6, 0.50),
    (per_million("kv.writes", "operations", fact="writes"), 2e6, 5.00),
    (per_million("kv.deletes", "operations", fact="deletes"), 2e6, 5.00),
    (per_million("kv.lists", "operations", fact="lists"), 2e6, 5.00),
    (storage("kv.storage"), 3.0, 1.00),
]
QUEUES = [
    # queues/platform/pricing: a million messages a day, each written, read and deleted; 100 million of two chunks.
    (per_million("queues.operations", "operations", fact="operations"), 3 * 30 * 1e6, 35.60),
    (per_million("queues.operations", "operations", fact="operations"), 2 * 3 * 100 * 1e6, 239.60),
]
OTHERS = [
    (meter("logs.events", "events", price="events_overage_per_million", included="events_included_month"), 45e6, 15.0),
    (per_million("d1.rows_read", "rows", fact="rows_read"), 25e9 + 1e9, 1.00),
    (per_million("d1.rows_written", "rows", fact="rows_written"), 50e6 + 1e6, 1.00),
]


@pytest.mark.parametrize(("one", "used", "usd"), [*KV, *QUEUES, *OTHERS])
def test_price_list_holds_for_meters_that_a_component_declares(one: Meter, used: float, usd: float) -> None:
    """KV, Queues, Logs until November 2026 and D1, by the usual makers of meters: none of these is rounded."""
    assert line_of(one, used, platform=PLATFORM).usd == pytest.approx(usd, abs=0.005)

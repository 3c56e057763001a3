"""The components that are there, and one more.

Goal: whatever names components follows from their entries, so that another one needs nothing but its own file. Method:
rules that every entry keeps; then a component is registered here, and asked for wherever a list of them is shown.
"""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pandas as pd
import pytest

from sim import run
from sim.flow import Delay, Flow, Serve, Station
from sim.flow.validation import check
from sim.foundation.errors import UsageError
from sim.foundation.schema import Count, Table
from sim.judgement.cost import cost, usage_per_month
from sim.judgement.dependence import paths
from sim.judgement.judge import judge
from sim.judgement.targets import load_targets
from sim.models import registry
from sim.models.billing import Meter, Usage
from sim.models.component import Component, Instance, Metric, NoParameters, Operation, Tier, Uses
from sim.models.registry import component, components, meters, metrics, queues, register, time_columns
from sim.randomness.distributions import Distribution
from sim.report.plots.style import colour
from sim.report.wording import component_name, target_name
from sim.results import storage
from sim.results.metrics import metric_names, metric_values, unit_of
from sim.scenario.deployment import deployment
from sim.scenario.scenario import Scenario, load_scenario
from sim.scenario.schema_page import json_schema, key_tables
from tests.project.tidy import ROOT
from tests.support.frames import PLATFORM
from tests.support.routes import KNOWN_TIMES, of_steps, refusal

BUILT_IN = [one.name for one in components()]
"""Those that ship, before a test registers one."""
OPERATIONS = [f"{one.name}.{what}" for one in components() for what in one.operations]

# ---------------------------------------------------------------- those that are there


def test_components_are_the_files_beside_the_registry_in_the_order_of_a_requests_way() -> None:
    texts = {path.stem: path.read_text("utf-8") for path in (ROOT / "sim/models").glob("*.py")}
    assert sorted(BUILT_IN) == sorted(name for name, text in texts.items() if "\nCOMPONENT = " in text)
    way = [BUILT_IN.index(name) for name in ("network", "workers", "durable_objects", "d1", "client")]
    assert way == sorted(way)
    assert [one.tier for one in components()] == sorted(one.tier for one in components())


@pytest.mark.parametrize("one", components(), ids=lambda one: one.name)
def test_entry_keeps_the_rules_of_the_registry(one: Component) -> None:
    assert component(one.name) is one
    assert re.fullmatch(r"#[0-9a-f]{6}", one.colour)
    assert one.label
    assert one.links.keys() <= one.table.model_fields.keys()
    assert set(one.links.values()) <= set(BUILT_IN)
    assert {line.component for line in one.meters} <= {one.name}
    for key, metric in ((metric.name, metric) for metric in one.metrics):
        assert metrics()[key] == (one, metric)
        assert key.endswith(f"_{metric.unit.lower().replace('/', '_per_')}")
    assert one.operations or one.entry or one.tier is Tier.CALLER
    assert not any(operation.reads for operation in one.operations.values() if operation.uploads), (
        "an upload changes something"
    )


def test_names_and_colours_are_nobody_elses() -> None:
    for values in (
        [one.label for one in components()],
        [one.colour for one in components()],
        [meter.name for meter in meters()],
        [metric.name for one in components() for metric in one.metrics],
    ):
        assert len(values) == len(set(values))


@pytest.mark.parametrize("meter", meters(), ids=lambda meter: meter.name)
def test_meter_has_its_price_in_the_platform_file(meter: Meter) -> None:
    """What goes out of a bucket is free, and said to be; what counts on another line has no price of its own."""
    for fact in (meter.price, meter.included, meter.scale, meter.free, meter.divisor):
        assert not fact or float(PLATFORM.fact(fact).value) > 0 or fact == "r2.pricing.egress_per_gb"
    assert bool(meter.price) != bool(meter.counts_as)
    assert meter.per > 0


@pytest.mark.parametrize("use", OPERATIONS)
def test_operation_is_a_flow_that_can_be_played_and_moves_meters_that_exist(use: str) -> None:
    scenario = of_steps(use, size_bytes=1e5)
    check(deployment(scenario))
    usage = usage_per_month(scenario, 1e6)
    assert usage.keys() <= {meter.name for meter in meters()}
    assert all(amount >= 0 for amount in usage.values())
    result = run(scenario, on="compiled", requests=50)
    assert (result.frame["outcome"] == "ok").all()
    where = use.partition(".")[0]
    touched = [where, *(one.name for one in linked(scenario.system.instances[where]))]
    assert sum(result.frame[f"{name}_ms"].sum() for name in touched) > 0 or use == "ledger.flush"


def linked(instance: Instance) -> list[Instance]:
    """The instances that another one works through."""
    return [instance.linked(key) for key in instance.component.links]


@pytest.mark.parametrize("name", ["d3", "durable_object", "queue"])
def test_unknown_component_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match=f"component='{name}' does not exist; (did you mean|it is one of)"):
        component(name)


# ---------------------------------------------------------------- one more


class Lookup(Table):
    """A table of a component that only this test has."""

    lookup_ms: Distribution
    """One look-up; it holds the one server."""
    queue_limit: Count
    """Most that may wait."""


def station(lookup: Instance) -> Station:
    return Station(lookup.name, servers=1, queue_limit=lookup.table.queue_limit)


def find(lookup: Instance, _: NoParameters) -> Flow:
    """Look one thing up."""
    half = Delay(lookup.table.lookup_ms, lookup.stream("way"))
    return (half, Serve(station(lookup), lookup.table.lookup_ms, lookup.stream("find")))


def usage(lookup: Instance, *_: Any) -> Usage:
    return Usage({"lookup.finds": 1.0})


def found_ms(frame: pd.DataFrame, uses: Uses) -> Any:
    """Time in the first instance of every request that met it."""
    spent = frame[f"{uses.instances[0]}_ms"].to_numpy()
    return spent[spent > 0]


LOOKUP = Component(
    name="lookup",
    label="Look-up",
    colour="#123456",
    tier=Tier.STORE,
    table=Lookup,
    operations={"find": Operation(find, usage=usage, services=("lookups",), reads=True)},
    station=station,
    meters=(Meter("lookup.finds", "finds", price="workers.pricing.requests_overage_per_million"),),
    metrics=(Metric("lookup_ms", "Look-up time", "ms", found_ms, compared=("p50",)),),
)


@pytest.fixture
def one_more(monkeypatch: pytest.MonkeyPatch) -> Scenario:
    """The component is registered, and a route uses two instances of it."""
    monkeypatch.setattr(registry, "_registered", {})
    assert register(LOOKUP) is LOOKUP
    tables = {
        "system.lookup": {"lookup_ms": {"distribution": "exponential", "mean": 4.0}, "queue_limit": 10},
        "system.index": {"like": "lookup", "lookup_ms": 1.0},
    }
    route = {"share": 1.0, "steps": ["workers.compute", "lookup.find", {"use": "index.find", "chance": 0.5}]}
    length = {"workload.requests": 2_000, "workload.warm_up_s": 0.0}
    return load_scenario("launch").with_(**tables, **{"routes.find": route}, **length)


def test_another_component_is_in_every_list(one_more: Scenario) -> None:
    instances = one_more.system.instances.values()
    names = [one.name for one in components()]
    assert names.index("ledger") < names.index("lookup") < names.index("client")
    assert [name for name in names if name != "lookup"] == BUILT_IN
    assert component("lookup") is LOOKUP
    assert [meter.name for meter in meters() if meter.component == "lookup"] == ["lookup.finds"]
    assert "lookup_ms" in metric_names()
    assert [name for name in time_columns(instances) if re.match("lookup|index", name)] == [
        "lookup_queue_ms", "lookup_ms", "index_queue_ms", "index_ms",
    ]  # fmt: skip
    assert {"lookup", "index"} <= set(queues(instances))
    assert component_name("lookup_queue_ms") == "Look-up, waiting"
    assert colour("lookup_ms") == LOOKUP.colour
    assert (target_name("lookup_ms", "p50"), unit_of("lookup_ms")) == ("Look-up time P50", "ms")


def test_another_component_is_explained_and_checked_as_the_others_are(one_more: Scenario) -> None:
    page = key_tables()
    assert "### `[system.lookup]`" in page
    assert "| `lookup_ms` | distribution or number | One look-up; it holds the one server. |" in page
    assert "| `lookup.find` |  | Look one thing up. |" in page
    raw = json.loads(one_more.model_dump_json(exclude_none=True))
    jsonschema.validate(raw, json_schema())
    wrong = refusal({"system.lookup.queue_limit": 0}, scenario=one_more)
    assert wrong[0] == "system.lookup.queue_limit=0 must be >= 1 (scenarios/README.md)"
    (line,) = refusal({"routes.find.steps": ["lookup.fnd"]}, scenario=one_more)
    assert line.startswith('routes.find.steps[0].use="lookup.fnd" is not an operation of the system; did you mean look')


def test_another_component_is_played_and_measured(one_more: Scenario) -> None:
    simpy, compiled = (run(one_more, on=engine, rng=2) for engine in ("simpy", "compiled"))
    assert np.array_equal(simpy.frame["latency_ms"], compiled.frame["latency_ms"])
    here = compiled.frame["route"] == "find"
    assert (compiled.frame.loc[here, "lookup_ms"] > 0).all()
    assert not compiled.frame.loc[~here, ["lookup_ms", "index_ms"]].to_numpy().any()
    assert {"lookup", "index"} <= set(compiled.stations["station"])
    values = metric_values(compiled.frame, "lookup_ms", scenario=one_more)
    assert len(values) == here.sum()


def test_another_component_is_judged_billed_and_stored(one_more: Scenario, tmp_path: Path) -> None:
    targets = tmp_path / "targets.toml"
    lines = ['metric = "lookup_ms"', 'statistic = "p50"', "target = 100.0", "alert = 200.0", 'direction = "below"']
    targets.write_text("\n".join(["[[targets]]", *lines, 'unit = "ms"', ""]), encoding="utf-8")
    assert load_targets(targets)[0].metric == "lookup_ms"
    judged = one_more.vary("targets", str(targets))
    result = run(judged, on="compiled", rng=2)
    (verdict,) = judge(result)
    assert (verdict.metric, verdict.verdict) == ("lookup_ms", "PASS")
    share = one_more.shares["find"]
    assert usage_per_month(one_more, 1e6)["lookup.finds"] == pytest.approx(1e6 * share * 1.5)
    (line,) = (line for line in cost(one_more, requests_per_month=1e9).lines if line.component == "lookup")
    price = PLATFORM.fact("workers.pricing.requests_overage_per_million").value
    assert line.usd == pytest.approx(1e3 * share * 1.5 * float(price))
    (path,) = (path for path in paths(one_more) if "lookups" in path.services)
    assert path.services["lookups"] == 1.0
    storage.save_run(run(one_more, on="compiled", rng=2), tmp_path / "run.parquet")
    back = storage.load_run(tmp_path / "run.parquet")
    assert back.scenario.system.index.lookup_ms.expected() == 1.0
    assert {"lookup_ms", "index_queue_ms"} <= set(back.frame)


def test_own_component_may_be_replaced_and_a_built_in_one_not(one_more: Scenario) -> None:
    later = register(replace(LOOKUP, label="Other"))
    assert component("lookup") is later
    assert len([one for one in components() if one.name == "lookup"]) == 1
    with pytest.raises(UsageError, match="component='d1' is built in; give yours another name"):
        register(replace(LOOKUP, name="d1"))


def test_nothing_is_left_of_it() -> None:
    """The fixtures above clean up: other tests see the components that ship."""
    assert [one.name for one in components()] == BUILT_IN
    assert refusal({"system.lookup": {"lookup_ms": 1.0, "queue_limit": 1}}, scenario=KNOWN_TIMES)

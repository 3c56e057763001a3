"""The rows that the bill counts are those that the reference's own SQL moves.

Goal: data and code never part, and a played run costs on the reference what the bill says of the same requests, to the
row. Method: the data file is made anew and compared; random mixes of the brief's requests are played on a whole
deployment in memory, at random distances, and its counters are compared with the sum of the models' usage.
"""

from collections import Counter

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reference_impl.messages import Request
from sim.models.billing import Call
from sim.models.metered import rows_of
from sim.scenario.routes import expected_uses
from sim.scenario.scenario import Scenario, load_scenario
from tests.evidence.metered import PATH, ask, measured, metered, text_of
from tests.support.world import World, balance_request, log_request, world

LAUNCH = load_scenario("launch")
ROWS = ("durable_objects.rows_read", "durable_objects.rows_written", "d1.rows_read", "d1.rows_written")
OPERATIONS = ("durable_objects.requests", "r2.class_a", "r2.class_b")
ADAPTERS = 25


def test_the_data_are_what_the_reference_moves() -> None:
    assert text_of(metered()) == PATH.read_text("utf-8"), "run python -m tests.evidence.metered"


def upload(name: str) -> Request:
    return Request("PUT", f"/loras/{name}/adapter.safetensors", body=b"x")


def request_of(route: str, number: int, key: int) -> Request:
    """Return request *number* of a route of launch."""
    organization = f"org-{key}"
    if route in ("log", "device_log"):
        return log_request(f"event-{number}", organization_id=organization, user_id=f"user-{key}")
    if route == "balance":
        return balance_request(organization)
    if route == "search":
        return Request("GET", "/loras", {"domain": "code", "limit": "20"})
    if route == "upload":
        return upload(f"new-{number}")
    return Request("GET", "/loras/adapter-1/adapter.safetensors")


def billed(scenario: Scenario, routes: Counter[str], *, alarms: float) -> dict[str, float]:
    """Sum up what the models say of so many requests of each route, and so many flushes."""
    found: dict[str, float] = dict.fromkeys((*ROWS, *OPERATIONS), 0.0)
    for name, often in routes.items():
        for step, times in expected_uses(scenario.routes[name].steps):
            where, _, operation = str(step.use).partition(".")
            instance = scenario.system.instances[where]
            wanted = instance.component.operations[operation]
            usage = wanted.usage(instance, Call(wanted.parameters.model_validate(step.parameters)))
            for meter, amount in usage.amounts.items():
                found[meter] = found.get(meter, 0.0) + amount * times * often
    flush, sets = rows_of("ledger.hardened.flush"), rows_of("ledger.set_alarm")
    for key in ("rows_read", "rows_written"):
        found[f"durable_objects.{key}"] += alarms * (flush[key] + sets[key])
    found["durable_objects.requests"] += alarms
    return found


def warmed(w: World, keys: int) -> None:
    """Bring a deployment into the state of one that has run for long: awake objects, known users, a catalogue."""
    ask(w, *(upload(f"adapter-{number}") for number in range(ADAPTERS)))
    ask(w, *(request_of("log", -key - 1, key) for key in range(keys)))
    wait(w, 60_000)


def wait(w: World, time_ms: float) -> None:
    """Let time pass."""
    w.clock.run(w.clock.sleep_until_ms(w.clock.now_ms() + time_ms))


PLAYED = st.lists(
    st.tuples(
        st.sampled_from(sorted(LAUNCH.routes)), st.integers(0, 2), st.sampled_from([0.0, 30.0, 4_000.0, 11_000.0])
    ),
    min_size=1,
    max_size=40,
)


@settings(max_examples=15, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(played=PLAYED)
def test_a_played_run_moves_the_rows_of_the_bill(played: list[tuple[str, int, float]]) -> None:
    def play() -> None:
        for number, (route, key, gap_ms) in enumerate(played):
            wait(w, gap_ms)
            ask(w, request_of(route, number, key))
        wait(w, 60_000)

    with world({"durable_objects": {"evict_idle_ms": 1e9}, "ledger": {"flush_interval_s": 10}}, counts_rows=True) as w:
        warmed(w, keys=3)
        moved = measured(w, play)
    routes = Counter(route for route, _, _ in played)
    asked = sum(routes[name] for name in ("log", "device_log", "balance"))
    alarms = moved["durable_objects.requests"] - asked
    bill = billed(LAUNCH, routes, alarms=alarms)
    assert {meter: moved[meter] for meter in (*ROWS, *OPERATIONS)} == {
        meter: bill[meter] for meter in (*ROWS, *OPERATIONS)
    }
    assert moved["durable_objects.statements_uncounted"] == 0


def test_an_append_writes_its_event_the_index_of_its_name_and_the_account() -> None:
    assert rows_of("ledger.hardened.append")["rows_written"] == 3
    assert rows_of("ledger.hardened.flush")["rows_written"] == 3
    assert rows_of("ledger.set_alarm")["rows_written"] == 1

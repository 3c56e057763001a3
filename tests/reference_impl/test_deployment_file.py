"""The deployment file: what it may hold, and one line for whatever it may not.

Goal: a file is read as it is written, older pace files too, and whoever writes a wrong one is told value, rule and way
out in one line. Method: a table of wrong files; then defaults and names, one by one.
"""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference_impl.d1.part import Rows
from reference_impl.deployment_file import Specification
from reference_impl.errors import ConfigError
from reference_impl.parts import Context, Part
from reference_impl.registry import built_in, register, unregister
from tests.support.routed import SYSTEM, route, routed
from tests.support.world import world_of

BAD_FILES = [
    ("no json", "the deployment file is no JSON"),
    ("[]", "the deployment file=[] must be a table"),
    ('{"seed": -1}', "seed=-1 must be a whole number >= 0"),
    ('{"seed": true}', "seed=True must be a whole number >= 0"),
    ('{"sytem": {}}', "the deployment file has an unknown key 'sytem'; did you mean system?"),
    ('{"api": "mine"}', "api='mine' must be one of , superinstance"),
    ('{"system": []}', "system=[] must be a table"),
]
BAD_SYSTEMS: list[tuple[dict[str, Any], str]] = [
    ({"nettwork": {}}, "system.nettwork.component='nettwork' is no component; did you mean network?"),
    ({"archive": {"component": "d11"}}, "system.archive.component='d11' is no component; did you mean d1?"),
    ({"archive": {"component": 1}}, "system.archive.component=1 must be a text"),
    ({"a b": {"component": "d1"}}, "system has the name 'a b', which must be a name of at most 32 letters"),
    ({"d1_queue": {"component": "d1"}}, "system.d1_queue must not end in _queue or _cpu"),
    ({"d1": {"rtt": 1}}, "system.d1 has an unknown key 'rtt'; did you mean rtt_ms"),
    ({"d1": 5}, "system.d1=5 must be a table"),
    ({"d1": {"rtt_ms": -1}}, "system.d1.rtt_ms=-1 must be >= 0"),
    ({"d1": {"rtt_ms": float("nan")}}, "system.d1.rtt_ms=nan must be a finite number"),
    ({"d1": {"rtt_ms": "8"}}, "system.d1.rtt_ms='8' must be a number or a table"),
    ({"d1": {"rtt_ms": {"distribution": "normal"}}}, "system.d1.rtt_ms.distribution='normal' must be one of constant"),
    ({"d1": {"rtt_ms": {"distribution": "erlang", "mean": 1}}}, "'erlang' takes distribution, mean, stages"),
    ({"d1": {"rtt_ms": {"distribution": "erlang", "mean": 1, "stages": 1.5}}}, "must be a whole number"),
    ({"d1": {"rtt_ms": {"distribution": "exponential", "mean": 0}}}, "system.d1.rtt_ms.mean=0 must be > 0"),
    ({"d1": {"rtt_ms": {"distribution": "uniform", "low": 2, "high": 1}}}, "high=1.0 must be >= low=2.0"),
    ({"d1": {"rtt_ms": {"distribution": "empirical", "values": [1]}}}, "a list of at least 2"),
    ({"d1": {"rtt_ms": {"distribution": "empirical", "values": [2, 1]}}}, "values must rise"),
    ({"d1": {"rtt_ms": {"distribution": "hyperexponential", "mean": 1, "cv2": 0.5}}}, "must be >= 1"),
    ({"d1": {"queue_limit": 1.5}}, "system.d1.queue_limit=1.5 must be a whole number >= 0"),
    ({"workers": {"isolates": 0}}, "system.workers.isolates=0 must be a whole number >= 1"),
    ({"workers": {"cold_fraction": 2}}, "system.workers.cold_fraction=2 must be a number in 0..1"),
    ({"durable_objects": {"shards": "many"}}, "system.durable_objects.shards='many' must be a whole"),
    ({"durable_objects": {"storage": "disk"}}, "system.durable_objects.storage='disk' must be one of sqlite, kv"),
    ({"ledger": {"policy": "soft"}}, "system.ledger.policy='soft' must be one of seed, hardened"),
    ({"kv": {"cache_ttl_s": 29.9}}, "system.kv.cache_ttl_s=29.9 must be a number in 30..inf"),
]
BAD_BUILDS: list[tuple[dict[str, Any], str]] = [
    ({"ledger": {}}, "system.ledger.objects='durable_objects' must name an instance of durable_objects; there is none"),
    (
        {"ledger": {"objects": "d1"}, "d1": {}, "rooms": {"component": "durable_objects"}},
        "system.ledger.objects='d1' must name an instance of durable_objects; there are rooms",
    ),
    ({"ledger": {}, "durable_objects": {}}, "system.ledger.database='d1' must name an instance of d1; there is none"),
    (
        {"ledger": {}, "tally": {"component": "ledger"}, "durable_objects": {}, "d1": {}},
        "system.tally.objects='durable_objects' hosts a ledger already; give it its own",
    ),
    (
        {"ledger": {}, "durable_objects": {"storage": "kv"}, "d1": {}},
        "system.durable_objects.storage='kv' has no SQL, which the hardened ledger needs",
    ),
    ({"synapse": {"objects": "rooms"}}, "system.synapse.objects='rooms' must name an instance of durable_objects"),
]
STEP = {"use": "d1.read"}
BAD_ROUTES: list[tuple[dict[str, Any], str]] = [
    ({"one": 5}, "routes.one=5 must be a table"),
    ({"a-b": route(STEP)}, "routes has the name 'a-b', which must be a name"),
    (
        {"one": route(STEP, enter="netwrk")},
        "enter='netwrk' is no instance that requests come in by; did you mean network?",
    ),
    ({"one": route(STEP, enter="d1")}, "enter='d1' is no instance that requests come in by"),
    ({"one": route(STEP, entre="network")}, "routes.one has an unknown key 'entre'; did you mean enter?"),
    ({"one": {"steps": [STEP]}}, "routes.one.request.method='' must be one of GET, HEAD"),
    ({"one": route(STEP, method="FETCH")}, "routes.one.request.method='FETCH' must be one of GET"),
    ({"one": route(STEP, path="feed")}, "routes.one.request.path='feed' must be a path such as /feed/{key}"),
    ({"one": route()}, "routes.one.steps=[] must be a list of at least one table"),
    ({"one": route(5)}, "routes.one.steps[0]=5 must be a table"),
    ({"one": route({})}, "routes.one.steps[0] must hold either use or steps"),
    ({"one": route({**STEP, "steps": [STEP]})}, "routes.one.steps[0] must hold either use or steps"),
    (
        {"one": route("d1.raed")},
        "routes.one.steps[0].use='d1.raed' is no operation of the system; did you mean d1.read?",
    ),
    ({"one": route("archve.read")}, "use='archve.read' is no operation of the system; did you mean archive.read?"),
    ({"one": route("network.read")}, "use='network.read' is no operation of the system"),
    ({"one": route({"use": 7})}, "routes.one.steps[0].use=7 must be a text"),
    (
        {"one": route({"steps": [STEP, {"use": "d1.read", "parameters": {"rows": 1}}]})},
        "routes.one.steps[0].steps[1].parameters has an unknown key 'rows'; did you mean rows_read?",
    ),
    ({"one": route({**STEP, "parameters": {"rows_read": -1}})}, "parameters.rows_read=-1 must be a number in 0..1e+06"),
    ({"one": route({"steps": [STEP], "parameters": {"a": 1}})}, "parameters has an unknown key 'a'; there is none"),
    ({"one": route({"use": "r2.get", "parameters": {"a": 1}})}, "parameters has an unknown key 'a'; there is none"),
    ({"one": route({**STEP, "times": 0})}, "routes.one.steps[0].times=0 must be a whole number >= 1"),
    ({"one": route({**STEP, "times": 1_001})}, "routes.one.steps[0].times=1001 must be a whole number <= 1000"),
    ({"one": route({**STEP, "chance": 1.5})}, "routes.one.steps[0].chance=1.5 must be a number in 0..1"),
    ({"one": route({**STEP, "parallel": 1})}, "routes.one.steps[0].parallel=1 must be true or false"),
    ({"one": route({**STEP, "timeout_ms": 0})}, "routes.one.steps[0].timeout_ms=0 must be a time > 0"),
    ({"one": route({**STEP, "retries": -1})}, "routes.one.steps[0].retries=-1 must be a whole number >= 0"),
    ({"one": route({**STEP, "retrys": 1})}, "routes.one.steps[0] has an unknown key 'retrys'; did you mean retries?"),
    (
        {"one": route(STEP, path="/a/{x}"), "two": route(STEP, path="/{y}/b?q=1")},
        "routes.two: GET /{y}/b answers what routes.one does; must differ in method or path",
    ),
]


def told(read: Any) -> str:
    """Return what is said of a wrong file, which is one line."""
    with pytest.raises(ConfigError) as caught:
        read()
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(("text", "message"), BAD_FILES)
def test_a_bad_file_is_told_by_value_and_rule(text: str, message: str) -> None:
    assert message in told(lambda: Specification.from_json(text))


@pytest.mark.parametrize(("system", "message"), BAD_SYSTEMS)
def test_a_bad_system_is_told_by_value_and_rule(system: dict[str, Any], message: str) -> None:
    assert message in told(lambda: Specification.from_json(json.dumps({"system": system})))


@pytest.mark.parametrize(("system", "message"), BAD_BUILDS)
def test_instances_that_do_not_fit_together_are_told_by_value_and_rule(system: dict[str, Any], message: str) -> None:
    def build() -> None:
        with world_of(Specification.read({"system": system})):
            pass

    assert message in told(build)


@pytest.mark.parametrize(("routes", "message"), BAD_ROUTES)
def test_a_bad_route_is_told_by_value_and_rule(routes: dict[str, Any], message: str) -> None:
    assert message in told(lambda: Specification.from_json(json.dumps({"system": SYSTEM, "routes": routes})))


@given(
    content=st.recursive(
        st.none()
        | st.booleans()
        | st.floats()
        | st.integers()
        | st.text(max_size=4)
        | st.sampled_from(["d1", "steps", "use", "d1.read", "GET", "/x", "network"]),
        lambda inner: (
            st.lists(inner, max_size=2)
            | st.dictionaries(
                st.sampled_from(
                    [
                        "seed",
                        "api",
                        "system",
                        "routes",
                        "d1",
                        "one",
                        "steps",
                        "use",
                        "request",
                        "method",
                        "path",
                        "rtt_ms",
                        "distribution",
                        "parameters",
                        "times",
                        "chance",
                        "enter",
                        "network",
                    ]
                ),
                inner,
                max_size=4,
            )
        ),
        max_leaves=12,
    )
)
def test_no_content_whatever_gives_more_than_one_line(content: Any) -> None:
    said = ""
    try:
        Specification.from_json(json.dumps(content))
    except ConfigError as error:
        said = str(error)
    assert "\n" not in said


def test_instances_that_depend_on_each_other_are_refused_in_one_line() -> None:
    def build(other: str, context: Context) -> object:
        return context.other(other, "loop", key="other")

    register(Part("loop", settings=lambda table: table.text("other", ""), build=build))
    try:
        system = {"a": {"component": "loop", "other": "b"}, "b": {"component": "loop", "other": "a"}}
        read = Specification.read({"system": system})

        def build_all() -> None:
            with world_of(read):
                pass

        assert told(build_all) == "system.a depends on itself through a and b"
    finally:
        unregister("loop")


@pytest.mark.parametrize(("rows_read", "rounded"), [(0, 0), (0.2, 1), (1, 1), (12.5, 13)])
def test_a_mean_number_of_rows_is_rounded_up(rows_read: float, rounded: int) -> None:
    for use in ("d1.read", "rooms.read"):
        step = {"use": use, "parameters": {"rows_read": rows_read}}
        (read,) = Specification.read({"system": SYSTEM, "routes": {"one": route(step)}}).routes.routes[0].steps
        assert read.parameters in (rounded, Rows(rounded, 0))


def test_only_the_instances_of_the_file_exist() -> None:
    assert list(Specification.read({"system": {"d1": {}, "client": {"timeout_ms": "whatever"}}}).instances) == ["d1"]
    users = {"devices": {"component": "client"}, "d1": {}}
    assert list(Specification.read({"system": users}).instances) == ["d1"]


def test_the_brief_s_api_brings_what_the_file_leaves_out() -> None:
    read = Specification.read({"api": "superinstance", "system": {"archive": {"component": "d1"}}})
    assert set(read.instances) == {"archive", *built_in()}


def test_null_is_as_good_as_absent() -> None:
    step = {"use": "d1.read", "steps": None, "timeout_ms": None, "hedge_ms": None, "parameters": None, "times": None}
    read = Specification.read({"system": SYSTEM, "routes": {"one": route(step)}, "seed": None, "api": None})
    (one,) = read.routes.routes[0].steps
    group: dict[str, Any] = {"use": None, "steps": [step], "parameters": {}}
    assert Specification.read({"system": SYSTEM, "routes": {"one": route(group)}}).routes.routes[0].steps[0].steps
    assert (one.times, one.policy.timeout_ms, one.policy.hedge_ms) == (1, None, None)


def test_two_routes_of_one_request_may_come_in_by_two_ways() -> None:
    routes = {"one": route(STEP), "two": route(STEP, enter="tunnel")}
    assert len(Specification.read({"system": SYSTEM, "routes": routes}).routes.routes) == 2


def test_every_instance_has_random_numbers_of_its_own() -> None:
    table = {"component": "d1", "read_ms": {"distribution": "exponential", "mean": 1}}

    def draws(**system: Any) -> dict[str, list[float]]:
        read = Specification.read({"seed": 3, "system": system})
        return {name: [spec.settings.read_ms.draw() for _ in range(20)] for name, spec in read.instances.items()}

    both = draws(a=table, b=table)
    assert both["a"] != both["b"]
    assert draws(b=table) == {"b": both["b"]}


def test_two_ledgers_live_in_two_namespaces() -> None:
    system = {
        "network": {},
        "d1": {},
        "books": {"component": "d1"},
        "durable_objects": {},
        "rooms": {"component": "durable_objects"},
        "ledger": {},
        "tally": {"component": "ledger", "objects": "rooms", "database": "books", "policy": "seed"},
    }
    with routed({"one": route("ledger.append", "tally.append", "tally.flush")}, system) as w:
        response = w.json(_request())
        assert response == {"success": True}
        assert w.volumes.engine("books", "database").execute("SELECT event_type FROM usage_events").values == [
            ("invoice",)
        ]
        assert w.deployment.instances["rooms"].names() == ["org-1"]


def _request() -> Any:
    from tests.support.routed import request

    return request(key=1, request=1)

"""The Worker: what it routes, what it answers, and what it refuses.

Goal: a client's mistake is a 4xx with a reason and changes nothing; nothing that a client sends is
a 500. Method: the whole deployment in memory; bad input by list and by Hypothesis, with the state
compared before and after.
"""

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from reference_impl.durable_objects.sharding import object_name
from reference_impl.messages import Request
from tests.support.world import EVENT_TIME_MS, World, balance_request, event, log_request, world

ADAPTER = "/loras/lora-1/adapter.safetensors"


def state(w: World) -> tuple[Any, ...]:
    """Everything that is stored anywhere, but for which objects were ever asked."""
    ledgers = [w.disk.open(w.objects.id_from_name("org-7"))]
    tables = ("events", "accounts")
    held = [
        c.execute(f"SELECT * FROM {table}").fetchall()
        for c in ledgers
        for table in tables
        if c.execute("SELECT 1 FROM sqlite_schema WHERE name = ?", (table,)).fetchall()
    ]
    return held, w.rows("SELECT * FROM loras"), w.bucket.list()


def test_a_usage_event_is_charged_and_owed() -> None:
    with world() as w:
        assert w.json(log_request()) == {
            "success": True,
            "charge_microusd": 4_227,
            "balance_microusd": 4_227,
            "duplicate": False,
        }
        assert w.json(log_request())["duplicate"] is True
        assert w.json(balance_request()) == {
            "success": True,
            "balance_microusd": 4_227,
            "events_pending": 1,
        }


def test_organisations_do_not_see_each_other() -> None:
    with world() as w:
        w.ask(log_request())
        assert w.json(balance_request("org-8"))["balance_microusd"] == 0


def test_organisations_of_one_shard_do_not_see_each_other_either() -> None:
    with world({"durable_objects": {"shards": 1}}) as w:
        w.ask(log_request())
        assert w.json(log_request(organization_id="org-8"))["duplicate"] is False
        assert w.json(balance_request("org-8"))["events_pending"] == 1


def test_an_uploaded_adapter_is_found_and_fetched() -> None:
    with world() as w:
        w.ask(Request("PUT", ADAPTER, body=b"weights"))
        found = w.json(Request("GET", "/loras", {"domain": "code", "limit": "5"}))["loras"]
        assert [row["id"] for row in found] == ["lora-1"]
        answer = w.ask(Request("GET", ADAPTER))[0]
        assert answer.body == b"weights"
        assert answer.headers["content-type"] == "application/octet-stream"
        assert w.rows("SELECT owner_id, r2_key FROM loras") == [("system", ADAPTER[1:])]


def test_an_upload_again_replaces_the_object_and_keeps_one_row() -> None:
    with world() as w:
        w.ask(Request("PUT", ADAPTER, body=b"one"))
        w.clock.run_until(1_000)
        assert w.ask(Request("PUT", ADAPTER, {"domain": "law"}, body=b"two"))[0].status == 200
        assert w.rows("SELECT id, domain FROM loras") == [("lora-1", "law")]
        assert w.ask(Request("GET", ADAPTER))[0].body == b"two"


def test_an_upload_within_a_second_is_429_and_leaves_the_first() -> None:
    # Hazard H31, as a client meets it.
    with world() as w:
        w.ask(Request("PUT", ADAPTER, body=b"one"))
        answer = w.ask(Request("PUT", ADAPTER, body=b"two"))[0]
        assert (answer.status, json.loads(answer.body)["error"]["code"]) == (429, "r2_10058")
        assert w.ask(Request("GET", ADAPTER))[0].body == b"one"


def test_search_is_by_domain_most_downloaded_first_and_bounded() -> None:
    with world() as w:
        for n in range(5):
            w.ask(Request("PUT", f"/loras/lora-{n}/adapter.safetensors", body=b"x"))
        w.engine.execute("UPDATE loras SET downloads = 9 WHERE id = 'lora-3'")
        w.engine.execute("UPDATE loras SET domain = 'law' WHERE id = 'lora-0'")
        w.engine.execute("UPDATE loras SET is_public = 0 WHERE id = 'lora-1'")
        found = w.json(Request("GET", "/loras", {"domain": "code", "limit": "2"}))["loras"]
        assert [row["id"] for row in found] == ["lora-3", "lora-2"]


@pytest.mark.parametrize(
    ("organization", "shards", "name"),
    [
        ("org-7", None, "org-7"),
        ("org-7", 4, "shard-3"),
        ("org-11", 4, "shard-3"),
        ("acme", 4, object_name("acme", 4)),
    ],
)
def test_the_object_is_the_key_modulo_the_shards(organization: str, shards: int | None, name: str) -> None:
    assert object_name(organization, shards) == name


BAD_FIELDS = [
    ("event_id", None),
    ("event_id", ""),
    ("event_id", "a b"),
    ("event_id", "x" * 129),
    ("event_id", "\ud800"),
    ("organization_id", 7),
    ("organization_id", "../x"),
    ("user_id", ["u"]),
    ("model", "gpt-9"),
    ("tokens_in", -1),
    ("tokens_in", 1.5),
    ("tokens_in", 1e300),
    ("tokens_in", True),
    ("tokens_in", "5"),
    ("tokens_in", 10**400),
    ("tokens_out", 10_000_001),
    ("event_time_ms", -1),
    ("event_time_ms", 2**63),
    ("surprise", 1),
]


@pytest.mark.parametrize(("field", "value"), BAD_FIELDS)
def test_a_bad_field_is_400_and_changes_nothing(field: str, value: object) -> None:
    with world() as w:
        w.ask(log_request("first"))
        before = state(w)
        answer = w.ask(log_request("second", **{field: value}))[0]
        error = json.loads(answer.body)["error"]
        assert (answer.status, error["code"]) == (400, "bad_field")
        assert field in error["message"]
        assert len(error["message"]) < 300
        assert state(w) == before


BAD_REQUESTS = [
    (Request("POST", "/log", body=b""), 400),
    (Request("POST", "/log", body=b"\xff\xfe"), 400),
    (Request("POST", "/log", body=b"[" * 20_000), 400),
    (Request("POST", "/log", body=b'{"tokens_in": NaN}'), 400),
    (Request("POST", "/log", body=b'{"tokens_in": ' + b"9" * 5_000 + b"}"), 400),
    (Request("POST", "/log", body=b"[]"), 400),
    (Request("POST", "/log", body=b"x" * 65_537), 413),
    (Request("GET", "/log"), 405),
    (Request("DELETE", ADAPTER), 405),
    (Request("BREW", "/balance"), 405),
    (Request("GET", "/"), 404),
    (Request("GET", "/loras/"), 404),
    (Request("GET", "/loras/a/other"), 404),
    (Request("GET", ADAPTER), 404),
    (Request("GET", "/loras/a b/adapter.safetensors"), 400),
    (Request("GET", "/loras/a..b/adapter.safetensors"), 400),
    (Request("PUT", ADAPTER, body=b""), 400),
    (Request("PUT", ADAPTER, {"domain": "a'b"}, body=b"x"), 400),
    (Request("GET", "/balance"), 400),
    (Request("GET", "/balance", {"organization_id": "a/b"}), 400),
    (Request("POST", "/flush"), 400),
    (Request("GET", "/loras"), 400),
    (Request("GET", "/loras", {"domain": "code", "limit": "0"}), 400),
    (Request("GET", "/loras", {"domain": "code", "limit": "101"}), 400),
    (Request("GET", "/loras", {"domain": "code", "limit": "-1"}), 400),
    (Request("GET", "/loras", {"domain": "code", "limit": "１"}), 400),
    (Request("GET", "/loras", {"domain": "x' OR 1=1 --"}), 400),
]


@pytest.mark.parametrize(("bad", "status"), BAD_REQUESTS, ids=range(len(BAD_REQUESTS)))
def test_a_bad_request_is_told_why_and_changes_nothing(bad: Request, status: int) -> None:
    with world() as w:
        w.ask(log_request())
        before = state(w)
        answer = w.ask(bad)[0]
        content = json.loads(answer.body)
        assert answer.status == status
        assert content["success"] is False
        assert set(content["error"]) == {"code", "message"}
        assert state(w) == before


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
fields = st.fixed_dictionaries({}, optional=dict.fromkeys(event(), json_values))
requests = st.builds(
    Request,
    st.sampled_from(["GET", "POST", "PUT", "DELETE", "HEAD"]) | st.text(max_size=8),
    st.sampled_from(["/log", "/balance", "/flush", "/loras", ADAPTER]) | st.text(max_size=30),
    st.dictionaries(st.sampled_from(["organization_id", "domain", "limit"]), st.text(max_size=20), max_size=3),
    st.just({}),
    st.binary(max_size=50) | fields.map(lambda f: json.dumps({**event(), **f}).encode()),
)


@settings(max_examples=300)
@given(request=requests)
@example(request=Request("GET", "/loras/\ud800/adapter.safetensors"))
def test_nothing_that_a_client_sends_is_a_500(request: Request) -> None:
    with world() as w:
        answer = w.ask(request)[0]
        assert answer.status < 500
        if request.method == "HEAD":
            assert answer.body == b""
        elif answer.status != 200:
            assert json.loads(answer.body)["success"] is False


def test_the_event_time_is_a_date_in_milliseconds() -> None:
    with world() as w:
        w.ask(log_request(event_time_ms=EVENT_TIME_MS + 1))
        w.ask(Request("POST", "/flush", {"organization_id": "org-7"}))
        assert w.rows("SELECT created_at FROM usage_events") == [("2026-11-18 11:06:40.001",)]

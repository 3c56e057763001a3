"""What common tools write is read as what it is, or refused with its reason.

Goal: a log from practice needs no preparation, and nothing that was guessed about it stays unsaid. Method: a few lines
of each tool's output, written here as the tool writes them, with the times, routes and notes that must come of it; the
same for files that hold no requests, or whose times cannot be known.
"""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sim import Scenario, load_scenario, read_trace
from sim.foundation.errors import ScenarioError

ISO = "2026-01-01 00:00:0"
SECONDS = 1_767_225_600
"""2026-01-01 00:00:00 UTC."""

K6 = (
    "metric_name,timestamp,metric_value,check,error,method,name,status,url,extra_tags\n"
    f"http_reqs,{SECONDS},1.0,,,GET,http://x/feed/1,200,http://x/feed/1,\n"
    f"http_req_duration,{SECONDS},101.0,,,GET,http://x/feed/1,200,http://x/feed/1,\n"
    f"http_reqs,{SECONDS + 1},1.0,,,POST,http://x/posts,200,http://x/posts,\n"
)
JMETER = (
    "timeStamp,elapsed,label,responseCode,responseMessage,bytes,sentBytes,URL\n"
    f"{SECONDS}123,410,p1,200,OK,1900,250,http://x/feed/1\n"
    f"{SECONDS}456,95,p1,Non HTTP response code: java.net.X,,0,250,http://x/feed/2\n"
    f"{SECONDS + 1}789,71,p1,200,OK,1900,250,http://x/feed/3\n"
)
LOGPUSH = (
    "ClientIP,ClientRequestMethod,ClientRequestURI,EdgeStartTimestamp,EdgeResponseStatus\n"
    f"198.51.100.7,GET,/feed/7?token=hunter2,{SECONDS}123000000,200\n"
    f"198.51.100.8,POST,/posts,{SECONDS + 1}456000000,503\n"
)
COMBINED = (
    '203.0.113.9 - frank [01/Jan/2026:00:00:00 +0100] "GET /feed/7?token=hunter2 HTTP/1.1" 200 2326 "-" "curl"\n'
    '203.0.113.9 - - [01/Jan/2026:00:00:02 +0100] "POST /posts HTTP/1.1" 201 -\n'
)
CLOUDFRONT = (
    "#Version: 1.0\n#Fields: date time sc-bytes cs-method cs-uri-stem sc-status time-taken\n"
    "2026-01-01\t00:00:01\t100\tGET\t/feed/1\t200\t0.010\n2026-01-01\t00:00:03\t90\tPOST\t/posts\t200\t0.020\n"
)


def lines(*documents: dict[str, Any]) -> str:
    """One JSON document a line."""
    return "".join(json.dumps(document) + "\n" for document in documents)


def event(number: int, kind: str = "fetch") -> dict[str, Any]:
    """An event of a Worker, as Logpush writes it."""
    request = {"URL": f"https://x/feed/{number}?token=hunter2", "Method": "GET"}
    return {
        "EventTimestampMs": SECONDS * 1000 + number * 1500,
        "EventType": kind,
        "Event": {"RayID": "x", "Request": request, "Response": {"Status": 200}},
        "Outcome": "ok",
        "WallTimeMs": 12,
        "Logs": [],
    }


def tailed(at_ms: int, request: dict[str, Any]) -> dict[str, Any]:
    """An event as `wrangler tail` prints it."""
    return {"outcome": "ok", "eventTimestamp": SECONDS * 1000 + at_ms, "event": {"request": request}}


def span(number: int, kind: int) -> dict[str, Any]:
    """A span of OpenTelemetry."""
    start_ns = (SECONDS + number) * 10**9
    return {
        "kind": kind,
        "startTimeUnixNano": str(start_ns),
        "endTimeUnixNano": str(start_ns + 12_000_000),
        "attributes": [
            {"key": "http.request.method", "value": {"stringValue": "GET"}},
            {"key": "url.path", "value": {"stringValue": f"/feed/{number}"}},
            {"key": "http.response.status_code", "value": {"intValue": "200"}},
        ],
    }


def spans(*numbers: int) -> dict[str, Any]:
    """A line of an exporter: server spans, each with the span of a call that it made."""
    found = [span(number, kind) for number in numbers for kind in (2, 3)]
    return {"resourceSpans": [{"scopeSpans": [{"spans": found}]}]}


CADDY = lines(
    *({"ts": SECONDS + at, "request": {"method": "GET", "uri": f"/feed/{at}"}, "size": 5, "duration": 0.5}
      for at in (0.5, 1.5))
)  # fmt: skip
K6_JSON = lines(
    {"type": "Metric", "data": {"name": "http_reqs"}, "metric": "http_reqs"},
    *(
        {"metric": "http_reqs", "type": "Point",
         "data": {"time": f"{ISO}{at}+01:00", "value": 1, "tags": {"method": "GET", "url": "http://x/feed/1"}}}
        for at in (1, 3)
    ),
)  # fmt: skip
ODD = lines(
    {"time": f"{ISO}0Z", "method": "GET", "path": "/feed/1", "size": 10},
    {"time": f"{ISO}2Z", "method": "GET", "path": "/feed/1", "size": "12"},
    {"path": "/posts", "method": "POST", "time": f"{ISO}3Z", "more": {"a": 1}},
)

EXPORTS: dict[str, tuple[str, list[float], str]] = {
    "azurefn.csv": ("app,func,end_timestamp,duration\na,f1,2.1,0.08\nb,f2,1.2,0.3\n", [0, 1120], "an Azure Functions"),
    "blank_cell.csv": ("arrival_ms,route,size_bytes\n0,POST /posts,\n10,feed,\n", [0, 10], "2 rows name no size"),
    "bom_crlf.csv": (f"\ufefftimestamp,route\r\n{ISO}0,feed\r\n{ISO}1,feed\r\n", [0, 1000], "taken as UTC"),
    "bq.csv": (f"timestamp\n{ISO}0.123 UTC\n{ISO}1.223 UTC\n", [0, 1100], "time = timestamp"),
    "burst.csv": (
        "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n3,A,4,2,6,api\n40,B,9,2,11,chat\n",
        [0, 37_000], "BurstGPT, 2 requests in 1.233 min: time = Timestamp (s since a start",
    ),
    "vhost.log": (
        f'shop:80 ::1 - "frank x" [01/Jan/2026:00:00:00 +0000] "GET /feed/\\"x\\" HTTP/1.0" 200 1\n{COMBINED}',
        [0, 2000, 3600_000], "an access log",
    ),
    "tail.json": (
        lines(tailed(0, {"url": "https://x/feed/1", "method": "GET"}), tailed(500, {}), tailed(900, {"url": "/posts"})),
        [0, 900], "1 rows are no requests (only those with a event.request.url are)",
    ),
    "dates.csv": ("date,time,key\n2026-01-01,00:00:01,-\n2026-01-01,00:00:03,a\n", [0, 2000], "1 rows name no key"),
    "minutes.csv": (
        "timestamp\n2026-01-01 00:00\n2026-01-01 00:00\n2026-01-01 00:01\n", [0, 0, 60_000], "whole minutes, coarser",
    ),
    "zones.csv": (f"timestamp\n{ISO}0 +0100\n{ISO}5+00:30\n", [0, 1_805_000], "2 requests in 1.003 h"),
    "caddy.json": (CADDY, [0, 1000], "a Caddy log"),
    "cloudfront.log": (CLOUDFRONT, [0, 2000], "time = time"),
    "combined.log": (COMBINED, [0, 2000], "an access log"),
    "comment.csv": (f"# exported by tool\ntimestamp\n{ISO}0\n# more\n\n{ISO}1\n", [0, 1000], "time = timestamp"),
    "excel.csv": ("sep=;\ntimestamp;size\n2026/01/01 00:00:00,5;1\n2026/01/01 00:00:02,5;2\n", [0, 2000], "UTC"),
    "jmeter.jtl": (JMETER, [0, 333, 1666], "JMeter results, 3 requests in 2.499 s: time = timeStamp (ms since 1970)"),
    "k6.csv": (K6, [0, 1000], "1 rows are no requests (only those with metric_name=http_reqs are)"),
    "k6.json": (K6_JSON, [0, 2000], "k6 results"),
    "logpush.csv": (LOGPUSH, [0, 1333], "EdgeStartTimestamp (ns since 1970)"),
    "logpush_iso.csv": (
        f"EdgeStartTimestamp,EdgeEndTimestamp,ClientRequestURI\n{ISO}0Z,{ISO}1Z,/posts\n{ISO}2Z,{ISO}3Z,/posts\n",
        [0, 2000], "Cloudflare Logpush",
    ),
    "logpush_unix.json": (
        lines(*({"EdgeStartTimestamp": SECONDS + at, "ClientRequestURI": "/posts"} for at in (0, 2))),
        [0, 2000], "EdgeStartTimestamp (s since 1970)",
    ),
    "odd.json": (ODD, [0, 2000, 3000], "lines of JSON"),
    "otel.csv": (
        f"timestamp,routes,keys,router\n{ISO}0.1Z,a,b,c\n{ISO}1.1Z,a,b,c\n",
        [0, 1000], "columns not used: routes (is it route? --columns route=routes)",
    ),
    "otlp.json": (lines(spans(0, 1), spans(3)), [0, 1000, 3000], "3 rows are no requests"),
    "pg.csv": (f"timestamp\n{ISO}0.123+00\n{ISO}1.223+00\n", [0, 1100], "time = timestamp"),
    "seconds.csv": (f"arrival_ms,route\n{SECONDS},feed\n{SECONDS + 3},post\n", [0, 3000], "arrival_ms (s since 1970)"),
    "semi.csv": (f"timestamp;route\n{ISO}0;feed\n{ISO}1;feed\n", [0, 1000], "route = route"),
    "tabs.tsv": (f"timestamp\troute\n{ISO}0\tfeed\n{ISO}1\tfeed\n", [0, 1000], "route = route"),
    "unicode.csv": (f"time,method,path\n{ISO}0,get,/feed/日本\n{ISO}1,GET,/feed/j%C3%BCrgen\n", [0, 1000],
                    "2 distinct"),
    "unsorted.csv": (f"timestamp,route\n{ISO}1,feed\n{ISO}0,feed\n", [0, 1000], "were not in order of time (1 came"),
    "withend.csv": (f"timestamp,end_timestamp,app\n{ISO}0Z,{ISO}1Z,x\n{ISO}2Z,{ISO}3Z,y\n", [0, 2000],
                    "columns not used: end_timestamp, app"),
    "workers.json": (lines(event(0), event(1, "queue"), event(2)), [0, 3000], "only those with EventType=fetch are"),
}  # fmt: skip

REFUSED: dict[str, tuple[str, str]] = {
    "dst.csv": ("timestamp\n2026-10-25 02:59:58\n2026-10-25 02:59:59\n2026-10-25 02:00:00\n",
                r"falls back by an hour where clocks are put back \(Europe/Berlin\).* zone=UTC"),
    "dst_us.csv": ("timestamp\n2026-11-01 01:59:59\n2026-11-01 01:00:01\n", r"put back \(America/New_York\)"),
    "history.csv": (f"Timestamp,User Count,Type,Name,Requests/s,Failures/s,50%\n{SECONDS},10,GET,/,12.0,0.0,20\n",
                    "is a Locust history: it holds rates a second, not requests"),
    "stats.csv": ("Type,Name,Request Count,Failure Count,Median Response Time\nGET,/,12,0,20\n", "Locust statistics"),
    "one.csv": ("arrival_ms,route\n5,feed\n", "holds one request: no rate can be known from an instant"),
    "instant.csv": (f"timestamp\n{ISO}0\n{ISO}0\n", "holds 2 requests, all at one instant"),
    "unitless.csv": ("timestamp\n3\n5\n", r':2 timestamp="3" has no unit, and its magnitude does not give one: say'),
    "units.csv": (f"timestamp\n{SECONDS}\n{SECONDS}000\n", r":3 .* must be in s since 1970, as the times before it"),
    "headless.csv": (f"{SECONDS},1\n{SECONDS + 1},2\n", ":1 must name the columns in its first line"),
    "list.json": ('[{"time":1}]', r"is one JSON list; one object a line is read: jq -c '\.\[\]' list\.json"),
    "cut.json": ('{"ts":1767225600}\n{"ts":\n', ":2 .* is not a JSON object"),
    "strange.log": (COMBINED + "GET /feed?token=hunter2\n", ':3 "GET /feed" is not a line of an access log'),
    "labels.jtl": ("timeStamp,elapsed,label\n1767225600123,1,p1\n1767225601123,1,p1\n",
                   r'has 2 of 2 rows that match no route: "p1" \(2\)'),
    "strangers.csv": ("time,method,path\n" + "".join(f"{ISO}{at % 10},GET,/x/{at % 7}?s=hunter2\n" for at in range(50)),
                      r'50 of 50 rows that match no route: "GET /x/0" \(8\), .*, "GET /x/4" \(7\); give a route match'),
}  # fmt: skip


@pytest.fixture(scope="module")
def feed() -> Scenario:
    return load_scenario("feed").with_(**{"routes.picture.match": ("GET /img/:id", "GET /pictures/*")})


def written(folder: Path, name: str, *, text: str) -> Path:
    path = folder / name
    path.write_bytes(text.encode())
    return path


@pytest.mark.parametrize("name", EXPORTS)
def test_an_export_is_read_as_what_it_is(tmp_path: Path, feed: Scenario, name: str) -> None:
    text, arrival_ms, note = EXPORTS[name]
    trace = read_trace(written(tmp_path, name, text=text), feed)
    assert trace.arrival_ms.tolist() == pytest.approx(arrival_ms, abs=1e-6)
    assert any(note in said for said in trace.notes), trace.notes
    assert "hunter2" not in repr((trace, trace.notes))


@pytest.mark.parametrize("name", REFUSED)
def test_what_holds_no_requests_or_no_clear_times_is_refused(tmp_path: Path, feed: Scenario, name: str) -> None:
    text, rule = REFUSED[name]
    with pytest.raises(ScenarioError, match=rule) as found:
        read_trace(written(tmp_path, name, text=text), feed)
    assert "hunter2" not in str(found.value)
    assert "\n" not in str(found.value)


ENCODINGS: dict[str, Callable[[str], bytes]] = {
    "utf-8": lambda text: text.encode(),
    "utf-8-sig": lambda text: text.encode("utf-8-sig"),
    "utf-16": lambda text: text.encode("utf-16"),
    "utf-16-le": lambda text: text.encode("utf-16-le"),
    "utf-16-be": lambda text: text.encode("utf-16-be"),
    "gz": lambda text: gzip.compress(text.encode()),
    "gz of two parts": lambda text: gzip.compress(text[:40].encode()) + gzip.compress(text[40:].encode()),
    "gz of utf-16": lambda text: gzip.compress(text.encode("utf-16")),
}


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_encodings_and_compression_do_not_matter(tmp_path: Path, feed: Scenario, encoding: str) -> None:
    path = tmp_path / "log"
    path.write_bytes(ENCODINGS[encoding](LOGPUSH))
    trace = read_trace(path, feed)
    assert trace.arrival_ms.tolist() == [0, 1333]
    assert trace.route_code is not None
    assert [list(feed.routes)[code] for code in trace.route_code] == ["feed", "post"]


def test_what_is_cut_off_or_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "log.gz"
    path.write_bytes(gzip.compress(LOGPUSH.encode() * 1000)[:-20])
    with pytest.raises(ScenarioError, match="truncated"):
        read_trace(path)
    path.write_bytes("timestamp,route\n2026-01-01 00:00:00,fé\n".encode("latin-1"))
    with pytest.raises(ScenarioError, match="not UTF-8 text, at byte"):
        read_trace(path)


def test_columns_of_other_names_are_told(tmp_path: Path, feed: Scenario) -> None:
    path = written(tmp_path, "own.csv", text="when,who,what,took_s\n0,a,feed,0.5\n2,b,post,0.25\n")
    trace = read_trace(
        path, feed, columns={"time": "when", "key": "WHO", "route": "what", "latency": "took_s"}, unit="s"
    )
    assert trace.arrival_ms.tolist() == [0, 2000]
    assert trace.latency_ms is not None
    assert trace.latency_ms.tolist() == [500, 250]
    assert trace.keys == 2
    with pytest.raises(ScenarioError, match=r':1 has no column "whn", asked for as time; did you mean when\?'):
        read_trace(path, feed, columns={"time": "whn"})
    with pytest.raises(ScenarioError, match=r"columns\.tiem is not a key; did you mean time"):
        read_trace(path, feed, columns={"tiem": "when"})


def test_a_column_can_be_left_out(tmp_path: Path, feed: Scenario) -> None:
    path = written(tmp_path, "jmeter.jtl", text=REFUSED["labels.jtl"][0])
    trace = read_trace(path, feed, columns={"route": ""})
    assert trace.route_code is None
    assert any("columns not used: label" in note for note in trace.notes)


def test_rows_without_a_route_are_skipped_and_counted(tmp_path: Path, feed: Scenario) -> None:
    text = "time,method,path\n" + "".join(f"{ISO}{at},GET,/{'feed' if at % 2 else 'x'}/{at}\n" for at in range(10))
    path = written(tmp_path, "log.csv", text=text)
    trace = read_trace(path, feed, unmatched="skip")
    assert len(trace) == 5
    assert any("5 rows match no route and were skipped" in note for note in trace.notes)
    one = written(tmp_path, "one.csv", text=text.replace("/x/", "/feed/").replace("/feed/0", "/x"))
    assert any(
        "1 row matches no route and was skipped" in note for note in read_trace(one, feed, unmatched="skip").notes
    )
    with pytest.raises(ScenarioError, match="unmatched"):
        read_trace(path, feed, unmatched="drop")


def test_a_zone_makes_local_times_clear_but_for_the_hour_that_comes_twice(tmp_path: Path) -> None:
    summer = written(tmp_path, "a.csv", text="timestamp\n2026-10-25 01:00:00\n2026-10-25 04:00:00\n")
    assert read_trace(summer, zone="Europe/Berlin").arrival_ms.tolist() == [0, 4 * 3_600_000]
    assert read_trace(summer).arrival_ms.tolist() == [0, 3 * 3_600_000]
    twice = written(tmp_path, "b.csv", text="timestamp\n2026-10-25 01:00:00\n2026-10-25 02:30:00\n")
    with pytest.raises(ScenarioError, match=r":3 .* is no clear time in Europe/Berlin"):
        read_trace(twice, zone="Europe/Berlin")
    with pytest.raises(ScenarioError, match='zone="Europe/Berli" must be a time zone'):
        read_trace(twice, zone="Europe/Berli")


def test_the_hour_that_comes_twice_is_taken_for_utc_when_that_is_said(tmp_path: Path) -> None:
    path = written(tmp_path, "dst.csv", text=REFUSED["dst.csv"][0])
    assert np.diff(read_trace(path, zone="UTC").arrival_ms).tolist() == [3_598_000, 1000]


IIS_FIELDS = "date time cs-method cs-uri-stem sc-status sc-substatus sc-win32-status time-taken"


@pytest.mark.parametrize(
    ("fields", "written_as", "said"),
    [
        (IIS_FIELDS, "200 0 0 24", "latency = time-taken (ms)"),
        ("date time cs-method cs-uri-stem sc-status time-taken", "200 0.024", "latency = time-taken (s)"),
        ("date time cs-method cs-uri-stem latency_ms sc-status", "24 200", "latency = latency_ms, status"),
    ],
    ids=["IIS", "CloudFront", "a unit in the name"],
)
def test_the_unit_of_latencies_is_the_tools_and_is_said(
    tmp_path: Path, fields: str, written_as: str, said: str
) -> None:
    """IIS and CloudFront both call it time-taken: the one writes ms, the other s."""
    rows = "".join(f"2026-01-01 00:00:{at:02d} GET /feed/{at} {written_as}\n" for at in range(20))
    trace = read_trace(written(tmp_path, "w3c.log", text=f"#Version: 1.0\n#Fields: {fields}\n{rows}"))
    assert trace.latency_ms is not None
    assert float(np.median(trace.latency_ms)) == pytest.approx(24)
    assert said in trace.notes[0]


@pytest.mark.parametrize(
    ("behind", "named"),
    [
        ("", "columns not used: host"),
        (' "https://ref/?q=hunter2" "Mozilla \\"q\\""', "columns not used: host, referrer, user agent"),
        (' "-" "curl" 0.024 rt=3', "columns not used: host, referrer, user agent, 2 fields behind them"),
    ],
)
def test_what_stands_behind_an_access_log_is_named(tmp_path: Path, behind: str, named: str) -> None:
    line = '203.0.113.9 - - [02/Nov/2026:09:00:{at:02d} +0100] "GET /feed/{at} HTTP/1.1" 200 12' + behind + "\n"
    trace = read_trace(written(tmp_path, "access.log", text="".join(line.format(at=at) for at in range(20))))
    assert any(note.endswith(named) for note in trace.notes)
    assert not any("hunter2" in note for note in trace.notes)


@pytest.mark.parametrize(("magic", "kind"), [(b"PK\x03\x04", "zip"), (b"\xfd7zXZ\x00", "xz"), (b"PAR1", "Parquet")])
def test_archives_are_refused_by_their_name(tmp_path: Path, magic: bytes, kind: str) -> None:
    path = tmp_path / "log.bin"
    path.write_bytes(magic + bytes(40))
    with pytest.raises(ScenarioError, match=f"is a {kind} file; unpack it"):
        read_trace(path)


def test_what_wrangler_tail_prints_is_read_or_says_how_to(tmp_path: Path, feed: Scenario) -> None:
    events = [
        {
            "eventTimestamp": (SECONDS + at) * 1_000,
            "event": {"request": {"url": f"https://x.example/feed/{at}?k=hunter2", "method": "GET"}},
            "logs": [{"message": ["hi"]}],
            "wallTime": 31,
        }
        for at in range(20)
    ]
    lines = "".join(f"{json.dumps(event)}\n" for event in events)
    trace = read_trace(written(tmp_path, "tail.ndjson", text=lines), feed)
    assert trace.latency_ms is not None
    assert trace.latency_ms.tolist() == [31.0] * 20
    assert not any("hunter2" in note for note in trace.notes)
    pretty = "".join(f"{json.dumps(event, indent=2)}\n" for event in events)
    with pytest.raises(ScenarioError, match=r"is not one JSON object a line: jq -c \. tail\.json"):
        read_trace(written(tmp_path, "tail.json", text=pretty), feed)


def test_requests_of_a_google_cloud_log_have_their_paths(tmp_path: Path, feed: Scenario) -> None:
    asked = {"requestMethod": "GET", "status": 200, "responseSize": "1234", "latency": "0.012s"}
    rows = [
        {"timestamp": f"2026-11-02T09:00:{at:02d}.123456789Z", "httpRequest": {**asked, "requestUrl": f"/feed/{at}"}}
        for at in range(20)
    ]
    trace = read_trace(written(tmp_path, "gcp.ndjson", text="".join(f"{json.dumps(row)}\n" for row in rows)), feed)
    assert trace.route_code is not None
    assert set(trace.route_code.tolist()) == {list(feed.routes).index("feed")}
    assert trace.size_bytes is not None
    assert trace.size_bytes.tolist() == [1_234] * 20
    assert any("columns not used: httpRequest.latency" in note for note in trace.notes)

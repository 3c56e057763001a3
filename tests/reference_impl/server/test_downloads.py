"""Downloads as clients do them: again, in part, resumed, or only the head.

Goal: the clients that people use save what they can, and the connection stays in step. Method: curl, which nobody here
wrote, against the real process; then requests by hand. Which answer is right is the matter of ``test_conditions.py``.
"""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from reference_impl.messages import Request
from reference_impl.volumes.stores import etag_of
from tests.support.process import started
from tests.support.serving import Served, serving
from tests.support.wire import Answer, ask

ADAPTER = "/loras/lora-1/adapter.safetensors"
CONTENT = bytes(n * n % 251 for n in range(300_000))
TAG = f'"{etag_of(CONTENT)}"'
needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """The adapter's URL in a process of its own."""
    with started("--fsync", "off") as (_, ready):
        adapter = f"{ready['http']}{ADAPTER}"
        if shutil.which("curl") is not None:
            subprocess.run(["curl", "-sSf", "-T", "-", adapter], input=CONTENT, check=True, capture_output=True)
        yield adapter


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A deployment with the adapter."""
    with serving(tmp_path_factory.mktemp("downloads")) as running:
        assert running.run(ask(running.address, Request("PUT", ADAPTER), body=CONTENT)).status == 200
        yield running


def curl(*arguments: str) -> str:
    """What curl prints: status and bytes received."""
    report = ["--write-out", "%{http_code} %{size_download}"]
    done = subprocess.run(["curl", "-sS", *report, *arguments], check=True, capture_output=True, text=True, timeout=60)
    return done.stdout


@needs_curl
@pytest.mark.parametrize("size", [1, 1_000, len(CONTENT) - 1])
def test_curl_resumes_a_download(url: str, tmp_path: Path, size: int) -> None:
    part = tmp_path / "part"
    part.write_bytes(CONTENT[:size])
    assert curl("-C", "-", "-o", str(part), url) == f"206 {len(CONTENT) - size}"
    assert part.read_bytes() == CONTENT


@needs_curl
def test_curl_fetches_only_what_has_changed(url: str, tmp_path: Path) -> None:
    whole, tag = tmp_path / "whole", tmp_path / "tag"
    assert curl("-o", str(whole), "--etag-save", str(tag), url) == f"200 {len(CONTENT)}"
    assert whole.read_bytes() == CONTENT
    assert curl("-o", str(whole), "--etag-compare", str(tag), url) == "304 0"
    tag.write_text('"another"\n')
    assert curl("-o", str(whole), "--etag-compare", str(tag), url) == f"200 {len(CONTENT)}"


@needs_curl
def test_curl_fetches_only_what_is_newer(url: str, tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    assert curl("-R", "-o", str(whole), url) == f"200 {len(CONTENT)}"
    assert curl("-z", str(whole), "-o", str(whole), url) == "304 0"
    assert curl("-z", "Sun, 06 Nov 1994 08:49:37 GMT", "-o", str(whole), url) == f"200 {len(CONTENT)}"


@needs_curl
def test_curl_asks_before_it_sends_much(url: str) -> None:
    # It waits for 100 with an upload of more than a megabyte, and sends nothing if it is refused.
    refused = [url.replace("loras", "nowhere"), "-H", "expect: 100-continue", "-T", "-"]
    report = ["--write-out", "%{http_code} %{size_upload}", "-o", "-"]
    command = ["curl", "-sS", *report, *refused]
    done = subprocess.run(command, input=b"x" * 5_000_000, check=True, capture_output=True, timeout=60)
    assert done.stdout.decode().endswith("}404 0")


def get(served: Served, method: str = "GET", **headers: str) -> Answer:
    """Ask for the adapter."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return served.run(ask(served.address, Request(method, ADAPTER, headers=named)))


def test_the_head_of_a_download_says_what_a_get_would(served: Served) -> None:
    got, headed = get(served), get(served, "HEAD")
    assert (got.status, got.body, headed.status, headed.body) == (200, CONTENT, 200, b"")
    for answer in (got, headed):
        del answer.headers["server-timing"]
    assert headed.headers == got.headers
    assert (got.headers["etag"], got.headers["accept-ranges"]) == (TAG, "bytes")
    assert got.headers["content-length"] == str(len(CONTENT))


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_what_the_client_has_is_not_sent_again(served: Served, method: str) -> None:
    answer = get(served, method, if_none_match=f'"other", W/{TAG}')
    assert (answer.status, answer.body, answer.headers["etag"]) == (304, b"", TAG)
    assert "content-length" not in answer.headers


def test_a_list_may_come_in_several_lines(served: Served) -> None:
    head = Request("GET", ADAPTER, headers={"if-none-match": f'"other"\r\nif-none-match: {TAG}'})
    assert served.run(ask(served.address, head)).status == 304


def test_a_condition_that_does_not_hold_is_a_refusal(served: Served) -> None:
    answer = get(served, if_match='"other"')
    assert (answer.status, b"precondition_failed" in answer.body) == (412, True)
    assert get(served, if_match=TAG).status == 200


def test_a_range_is_sent_alone(served: Served) -> None:
    answer = get(served, range="bytes=1000-1999", if_range=TAG)
    assert (answer.status, answer.body) == (206, CONTENT[1_000:2_000])
    assert answer.headers["content-range"] == f"bytes 1000-1999/{len(CONTENT)}"
    assert answer.headers["content-length"] == "1000"
    assert get(served, range="bytes=1000-1999", if_range='"other"').body == CONTENT
    # Ranges are defined for GET alone.
    assert get(served, "HEAD", range="bytes=1000-1999").status == 200


def test_a_range_behind_the_end_says_where_the_end_is(served: Served) -> None:
    answer = get(served, range=f"bytes={len(CONTENT)}-")
    assert (answer.status, answer.headers["content-range"]) == (416, f"bytes */{len(CONTENT)}")


def test_a_new_upload_is_another_version(tmp_path: Path) -> None:
    with serving(tmp_path) as running:
        assert running.run(ask(running.address, Request("PUT", ADAPTER), body=b"one")).status == 200
        first = get(running).headers["etag"]
        running.deployment.instances["r2"]._written_ms.clear()  # as if a second had passed
        assert running.run(ask(running.address, Request("PUT", ADAPTER), body=b"two")).status == 200
        assert get(running, if_none_match=first).body == b"two"
        assert get(running, if_match=first).status == 412
        assert get(running, range="bytes=1-", if_range=first).body == b"two"


def test_conditions_on_what_is_not_there_change_nothing(served: Served) -> None:
    head = Request("GET", ADAPTER.replace("lora-1", "none"), headers={"if-match": "*", "range": "bytes=0-1"})
    assert served.run(ask(served.address, head)).status == 404

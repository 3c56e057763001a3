"""Headers with secrets: sent to the deployment, and found nowhere else.

Goal: a planted token reaches the server and no text, file, record or error of the driver. Method: properties over
tokens and header names, and a server that repeats the token in an answer that cannot be read.
"""

import json
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.foundation.errors import RunnerError, UsageError
from sim.report.json_document import run_document, text_of
from sim.runners.load.headers import Headers, parse_headers
from tests.sim.runners.test_live import play, steady
from tests.support.adversary import adversary

TOKENS = st.text(st.sampled_from("abcXYZ0189-._~+/="), min_size=8, max_size=40)
SECRET_NAMES = st.sampled_from(["Authorization", "X-Api-Key", "cf-access-client-secret", "Cookie", "x-session-id"])
PLANTED = "planted-4f1c9d2e"


@given(token=TOKENS, name=SECRET_NAMES, around=st.text(max_size=20))
def test_secret_is_sent_and_shown_nowhere(token: str, name: str, around: str) -> None:
    headers = parse_headers([f"{name}=env:TOKEN", "x-stage=test"])
    variables = {"TOKEN": f"Bearer {token}"}
    assert headers.values(variables) == {name: f"Bearer {token}", "x-stage": "test"}
    assert token not in repr(headers)
    assert token.encode() not in pickle.dumps(headers)
    for text in (f"{around}{token}{around}", f"Bearer {token}", f"{around}Bearer {token}"):
        assert token not in headers.hide(text, variables)


@given(token=TOKENS, name=SECRET_NAMES)
def test_secret_that_stands_openly_is_refused_without_being_repeated(token: str, name: str) -> None:
    with pytest.raises(UsageError) as refused:
        parse_headers([f"{name}={token}"])
    assert token not in str(refused.value)
    assert f"{name}=env:VARIABLE" in str(refused.value)


@given(start=TOKENS, breaking=st.sampled_from("\r\n\0\x7fé"))
def test_variable_that_is_no_header_is_refused_without_being_repeated(start: str, breaking: str) -> None:
    headers = parse_headers(["authorization=env:TOKEN"])
    with pytest.raises(UsageError, match="environment variable TOKEN must be printable ASCII") as refused:
        headers.values({"TOKEN": f"{start}{breaking}{start}"})
    assert start not in str(refused.value)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["no equals sign"], "must be NAME=VALUE or NAME=env:VARIABLE"),
        (["a b=c"], "must be NAME=VALUE"),
        (["Host=example.com"], "is set by the driver"),
        (["x-a=1", "X-A=2"], "must be given once"),
        (["x-a=env:9"], "must name an environment variable"),
        (["x-a="], "must be printable ASCII"),
    ],
)
def test_wrong_header_is_one_line(texts: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message) as refused:
        parse_headers(texts)
    assert "\n" not in str(refused.value)


def test_missing_variable_is_named_before_anything_is_sent() -> None:
    with pytest.raises(UsageError, match="environment variable NOT_SET_HERE must be set"):
        Headers({"authorization": "env:NOT_SET_HERE"}).values({})


@pytest.mark.parametrize("processes", [1, 2])
def test_token_reaches_the_server_and_no_record(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], processes: int
) -> None:
    monkeypatch.setenv("HEADROOM_PLANTED", f"Bearer {PLANTED}")
    headers = Headers({"headroom-test-authorization": "env:HEADROOM_PLANTED"})
    from tests.sim.runners.test_live import seen

    with adversary() as deployment:
        result = play(deployment, steady(20), headers=headers, processes=processes)
        got = seen(deployment)["identities"]
    assert [one["headroom-test-authorization"] for one in got] == [f"Bearer {PLANTED}"] * 20
    shown = [text_of(run_document(result)), result.frame.to_json(), repr(result), json.dumps(result.generator)]
    assert not [text for text in (*shown, *capfd.readouterr()) if PLANTED in text]


def test_server_that_repeats_the_token_in_garbage_does_not_bring_it_into_the_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HEADROOM_PLANTED", PLANTED)
    headers = Headers({"authorization": "env:HEADROOM_PLANTED"})
    with adversary(echo_as_garbage=True) as deployment, pytest.raises(RunnerError) as failed:
        play(deployment, steady(5), headers=headers)
    assert "does not answer" in str(failed.value)
    assert PLANTED not in str(failed.value)
    assert "\n" not in str(failed.value)

"""Admission: what the head of a request decides, against a table written by hand.

Goal: route, method, key and announced length are decided on in this order, for every head that a client may send.
Method: Hypothesis draws heads; an oracle of a few lines knows the API from the documentation and shares nothing with
the code. The same heads then go to the Worker itself, which must refuse them alike: a request through the tunnel meets
nothing before it.
"""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference_impl.errors import RequestError
from reference_impl.messages import Request
from reference_impl.workers.access import Gatekeeper, Grant
from reference_impl.workers.admission import Admission, Terms
from reference_impl.workers.worker import find_terms
from tests.support.world import world

JSON, QUESTION, UPLOAD = 65_536, 1_048_576, 100_000_000
ADAPTER = "/loras/lora-1/adapter.safetensors"
API: dict[str, dict[str, tuple[str | None, int]]] = {
    "/log": {"POST": ("write", JSON)},
    "/balance": {"GET": ("read", JSON), "HEAD": ("read", JSON)},
    "/flush": {"POST": ("flush", JSON)},
    "/loras": {"GET": ("download", JSON), "HEAD": ("download", JSON)},
    ADAPTER: {"GET": ("download", JSON), "HEAD": ("download", JSON), "PUT": ("upload", UPLOAD)},
    "/synapse/s/state": {"GET": ("council", JSON), "HEAD": ("council", JSON)},
    "/synapse/s/consensus": {"POST": ("council", QUESTION)},
    "/synapse/s/socket": {"GET": ("council", JSON), "HEAD": ("council", JSON)},
    "/health": {"GET": (None, JSON), "HEAD": (None, JSON)},
    "/metrics": {"GET": (None, JSON), "HEAD": (None, JSON)},
    "/openapi.json": {"GET": (None, JSON), "HEAD": (None, JSON)},
}
KEYS = {
    "si_ledger": {"write", "read", "flush"},
    "si_reader": {"read", "download"},
    "si_council": {"council"},
    "si_uploader": {"upload"},
}
ACCESS = Gatekeeper(
    [Grant(hashlib.sha256(key.encode()).hexdigest(), None, frozenset(scopes)) for key, scopes in KEYS.items()]
)


def expected(head: Request, *, has_keys: bool) -> int:
    """The status that a head is refused with, or its bound."""
    if head.path not in API:
        return 404
    if head.method not in API[head.path]:
        return 405
    scope, bound = API[head.path][head.method]
    if has_keys and scope is not None:
        scheme, _, key = head.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or key.strip() not in KEYS:
            return 401
        if scope not in KEYS[key.strip()]:
            return 403
    return 413 if int(head.headers.get("content-length", "0")) > bound else bound


methods = st.sampled_from(["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "get", "BREW"])
paths = st.sampled_from([*API, "/", "/log/", "//log", "/loras/", "/loras/a/b", "/synapse/s/other", "/Log"])
keys = st.sampled_from(
    [None, "", "Bearer", "Bearer si_guess", "Basic si_ledger", "si_ledger", *(f"Bearer {key}" for key in KEYS)]
)
sizes = st.none() | st.sampled_from([0, 1, *(bound + n for bound in (JSON, QUESTION, UPLOAD) for n in (0, 1)), 10**19])


@st.composite
def heads(draw: st.DrawFn) -> Request:
    """The head of any request."""
    key, size = draw(keys), draw(sizes)
    headers = {} if key is None else {"authorization": key}
    if size is not None:
        headers["content-length"] = str(size)
    return Request(draw(methods), draw(paths), {"domain": "code", "organization_id": "org-7"}, headers)


def decided(head: Request, access: Gatekeeper | None) -> int:
    """What admission says: a status, or a bound."""
    try:
        return Admission([find_terms], access=access).admit(head)
    except RequestError as refusal:
        return refusal.status


@given(head=heads(), has_keys=st.booleans())
def test_a_head_is_decided_on_as_documented(head: Request, has_keys: bool) -> None:
    assert decided(head, ACCESS if has_keys else None) == expected(head, has_keys=has_keys)


@given(head=heads())
def test_the_worker_refuses_what_admission_refuses_by_whichever_way_it_comes(head: Request) -> None:
    with world(access=ACCESS) as w:
        status = w.clock.run(w.deployment.serve_http(head, w.deployment.stopwatch()))[0].status
    refused = expected(head, has_keys=True)
    # The operator's routes have no body to bound.
    if refused < 1_000 and not (refused == 413 and head.path in ("/health", "/metrics", "/openapi.json")):
        assert status == refused
    else:
        assert status not in (401, 403, 405, 413)


@given(size=st.sampled_from([JSON, JSON + 1]))
def test_a_body_that_is_there_counts_like_one_that_is_announced(size: int) -> None:
    with world() as w:
        status = w.ask(Request("POST", "/log", body=b"x" * size))[0].status
        assert status == (400 if size == JSON else 413)


def test_a_refused_method_says_which_there_are() -> None:
    with pytest.raises(RequestError) as caught:
        Admission([find_terms], access=None).admit(Request("DELETE", ADAPTER))
    assert caught.value.headers == {"allow": "GET, PUT, HEAD"}


def test_a_refused_key_says_how_to_send_one() -> None:
    for key in ("", "Bearer si_guess"):
        with pytest.raises(RequestError) as caught:
            Admission([find_terms], access=ACCESS).admit(Request("GET", "/loras", headers={"authorization": key}))
        assert caught.value.headers["www-authenticate"].startswith("Bearer ")


def test_a_bad_name_in_a_path_is_refused_by_the_head() -> None:
    with pytest.raises(RequestError, match="must be 1 to 128 letters") as caught:
        Admission([find_terms], access=None).admit(Request("PUT", "/loras/a b/adapter.safetensors"))
    assert caught.value.status == 400


def test_other_routes_bring_terms_of_their_own_and_need_no_key_unless_they_say_so() -> None:
    def find(head: Request) -> Terms | None:
        own = {"/feed": Terms(), "/small": Terms(body_bytes_max=10), "/secret": Terms("read"), "/log": Terms("flush")}
        return own.get(head.path)

    admission = Admission([find_terms, find], access=ACCESS)
    assert admission.admit(Request("POST", "/feed")) == UPLOAD
    assert admission.admit(Request("POST", "/small")) == 10
    for head, status in (
        (Request("POST", "/small", headers={"content-length": "11"}), 413),
        (Request("POST", "/secret"), 401),
        (Request("POST", "/nothing"), 404),
        # Who comes first decides.
        (Request("POST", "/log", headers={"authorization": "Bearer si_reader"}), 403),
        (Request("GET", "/log"), 405),
    ):
        with pytest.raises(RequestError) as caught:
            admission.admit(head)
        assert caught.value.status == status

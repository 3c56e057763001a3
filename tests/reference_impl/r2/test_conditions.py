"""Conditional requests and ranges, against a literal reading of the standard.

Goal: a client that has an adapter does not load it again, one that has half of it loads the other half, and nobody
ever joins halves of two versions. Method: Hypothesis draws headers; the oracle is RFC 9110 section 13.2.2, as
it stands there, working on what was drawn and not on its text. A range is what slicing says. The pieces of a resumed
download make the whole.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference_impl.errors import RequestError
from reference_impl.messages import Request, Response
from reference_impl.r2.conditions import Validators, parse_date, parse_range, respond

ETAG, OTHER, STRANGE = "d41d8cd98f00b204", "0cc175b9c0f1b6a8", "odd,tag"
UPLOADED_S = 1_795_000_000
CONTENT = bytes(range(256)) * 4


@dataclass(frozen=True)
class Tag:
    """An entity tag of a header."""

    etag: str
    is_weak: bool

    def __str__(self) -> str:
        return f'W/"{self.etag}"' if self.is_weak else f'"{self.etag}"'


@dataclass(frozen=True)
class Asked:
    """A request as it was meant: tags, dates and positions; ``"*"`` is any tag, ``"junk"`` cannot be understood."""

    method: str
    match: list[Tag] | str | None
    none_match: list[Tag] | str | None
    unmodified_since_s: int | str | None
    modified_since_s: int | str | None
    range_: tuple[int | None, int | None] | str | None
    if_range: Tag | int | str | None

    def request(self) -> Request:
        """Write it down."""
        headers = {}
        for name, tags in (("if-match", self.match), ("if-none-match", self.none_match)):
            if tags is not None:
                headers[name] = tags if isinstance(tags, str) else ", ".join(map(str, tags))
        dates = {"if-unmodified-since": self.unmodified_since_s, "if-modified-since": self.modified_since_s}
        for name, second in dates.items():
            if second is not None:
                headers[name] = second if isinstance(second, str) else formatdate(second, usegmt=True)
        if self.range_ is not None:
            first, last = self.range_ if not isinstance(self.range_, str) else (None, None)
            text = f"bytes={'' if first is None else first}-{'' if last is None else last}"
            headers["range"] = self.range_ if isinstance(self.range_, str) else text
        if self.if_range is not None:
            is_date = isinstance(self.if_range, int)
            headers["if-range"] = formatdate(self.if_range, usegmt=True) if is_date else str(self.if_range)  # type: ignore[arg-type]  # a date
        return Request(self.method, "/", headers=headers)


def literal(asked: Asked, validators: Validators) -> tuple[int, bytes]:  # noqa: C901  # as the standard has it
    """RFC 9110 section 13.2.2, for a server of origin; then 14.2."""
    uploaded_s = validators.uploaded_s
    is_read = asked.method in ("GET", "HEAD")

    def listed(tags: list[Tag] | str, *, weakly: bool) -> bool:
        if isinstance(tags, str):
            return tags == "*"
        return any(tag.etag == validators.etag and (weakly or not tag.is_weak) for tag in tags)

    # 1. When recipient is the origin server and If-Match is present, evaluate the If-Match precondition.
    if asked.match is not None:
        if not listed(asked.match, weakly=False):
            return 412, b""
    # 2. ... If-Match is not present, and If-Unmodified-Since is present, evaluate it.
    elif isinstance(asked.unmodified_since_s, int) and uploaded_s is not None:  # noqa: SIM102  # as it stands there
        if not uploaded_s <= asked.unmodified_since_s:
            return 412, b""
    # 3. When If-None-Match is present, evaluate it: if false, 304 for GET/HEAD, 412 for others.
    if asked.none_match is not None:
        if listed(asked.none_match, weakly=True):
            return (304 if is_read else 412), b""
    # 4. When the method is GET or HEAD, If-None-Match is not present, and If-Modified-Since is present, evaluate it.
    elif is_read and isinstance(asked.modified_since_s, int) and uploaded_s is not None:  # noqa: SIM102  # as above
        if uploaded_s <= asked.modified_since_s:
            return 304, b""
    # 5. When the method is GET and both Range and If-Range are present, evaluate If-Range: if true, and the Range is
    # applicable, respond 206; otherwise ignore the Range.
    if asked.method != "GET" or asked.range_ is None or isinstance(asked.range_, str):
        return 200, CONTENT
    if asked.if_range is not None:
        if isinstance(asked.if_range, Tag):
            continues = asked.if_range == Tag(validators.etag, is_weak=False)
        else:
            continues = asked.if_range == uploaded_s
        if not continues:
            return 200, CONTENT
    # 6. Otherwise, all conditions are met.
    return sliced(asked.range_)


def sliced(asked: tuple[int | None, int | None]) -> tuple[int, bytes]:
    """A range by slicing."""
    first, last = asked
    if first is None:
        if last is None:
            return 200, CONTENT
        part = CONTENT[max(0, len(CONTENT) - last) :]
    elif last is None:
        part = CONTENT[first:]
    elif last < first:
        return 200, CONTENT
    else:
        part = CONTENT[first : last + 1]
    return (206, part) if part else (416, b"")


tags = st.builds(Tag, st.sampled_from([ETAG, OTHER, STRANGE, ""]), st.booleans())
junk_lists = st.sampled_from(["junk", '"', "", 'W/"'])
tag_lists = st.none() | st.just("*") | junk_lists | st.lists(tags, min_size=1, max_size=4)
seconds = st.none() | st.integers(UPLOADED_S - 2, UPLOADED_S + 2) | st.sampled_from(["junk", "", "1795000000", "Mon"])
positions = st.none() | st.integers(0, len(CONTENT) + 2) | st.just(10**30)
junk_ranges = st.sampled_from(["junk", "lines=1-2", "bytes=0-1,5-9", "bytes=a-b"])
ranges = st.none() | st.tuples(positions, positions) | junk_ranges
validators = st.builds(Validators, st.just(ETAG), st.none() | st.integers(UPLOADED_S * 1_000, UPLOADED_S * 1_000 + 999))
requests = st.builds(
    Asked,
    st.sampled_from(["GET", "GET", "HEAD", "PUT", "DELETE"]),
    tag_lists,
    tag_lists,
    seconds,
    seconds,
    ranges,
    st.none() | tags | st.integers(UPLOADED_S - 1, UPLOADED_S + 1) | st.just("junk"),
)


def answered(request: Request, stored: Validators) -> Response:
    """The answer, a refusal too."""
    try:
        return respond(request, stored, content=CONTENT)
    except RequestError as error:
        return Response(error.status, b"", dict(error.headers))


@given(asked=requests, stored=validators)
def test_conditions_are_judged_as_the_standard_says(asked: Asked, stored: Validators) -> None:
    answer = answered(asked.request(), stored)
    assert (answer.status, answer.body) == literal(asked, stored)
    if answer.status in (200, 206, 304):
        assert answer.headers["etag"] == f'"{ETAG}"'
        assert ("last-modified" in answer.headers) == (stored.uploaded_unix_ms is not None)
    assert ("content-range" in answer.headers) == (answer.status in (206, 416))


@given(first=positions, last=positions)
def test_a_range_is_a_slice_and_says_which(first: int | None, last: int | None) -> None:
    text = f"bytes={'' if first is None else first}-{'' if last is None else last}"
    answer = answered(Request("GET", "/", headers={"range": text}), Validators(ETAG))
    assert (answer.status, answer.body) == sliced((first, last))
    if answer.status == 206:
        content_range = answer.headers["content-range"]
        start, _, rest = content_range.removeprefix("bytes ").partition("-")
        end, _, size = rest.partition("/")
        assert (CONTENT[int(start) : int(end) + 1], int(size)) == (answer.body, len(CONTENT))
    elif answer.status == 416:
        assert answer.headers == {"content-range": f"bytes */{len(CONTENT)}"}


@given(cuts=st.lists(st.integers(1, len(CONTENT) - 1), max_size=6, unique=True))
def test_a_download_resumed_at_any_places_is_the_whole(cuts: list[int]) -> None:
    taken = b""
    for stop in [*sorted(cuts), len(CONTENT)]:
        headers = {"range": f"bytes={len(taken)}-{stop - 1}", "if-range": f'"{ETAG}"'}
        answer = respond(Request("GET", "/", headers=headers), Validators(ETAG), content=CONTENT)
        assert answer.status == 206
        taken += answer.body
    assert taken == CONTENT


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("bytes=0-0", range(1)),
        ("BYTES=0-0", range(1)),
        ("bytes= 2-3 ", range(2, 4)),
        ("bytes=,2-3,", range(2, 4)),
        ("bytes=2-", range(2, 10)),
        ("bytes=-3", range(7, 10)),
        ("bytes=-30", range(10)),
        ("bytes=5-4", None),
        ("bytes=-", None),
        ("bytes=0-0,2-3", None),
        ("bytes=+1-2", None),
        ("bytes=1-2-3", None),
        ("bytes=\u0661-", None),
        ("bytes 1-2", None),
    ],
)
def test_ranges_are_read_as_they_are_written(text: str, found: range | None) -> None:
    assert parse_range(text, 10) == found


def test_an_object_without_bytes_has_no_first_byte_but_its_last_ones_are_all_of_it() -> None:
    assert parse_range("bytes=-5", 0) is None
    for text in ("bytes=0-", "bytes=-0"):
        with pytest.raises(RequestError) as caught:
            parse_range(text, 0)
        assert (caught.value.status, caught.value.headers) == (416, {"content-range": "bytes */0"})


@pytest.mark.parametrize(
    "text", ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"]
)
def test_a_date_is_read_in_the_three_shapes_of_the_standard(text: str) -> None:
    assert parse_date(text) == 784_111_777


@pytest.mark.parametrize(
    "text", ["", "Sun, 06 Nov 1994 08:49:37 CET", "1994-11-06T08:49:37Z", "Sun, 31 Feb 1994 08:49:37 GMT"]
)
def test_what_is_no_date_is_none(text: str) -> None:
    assert parse_date(text) is None


@given(second=st.integers(0, 4_000_000_000))
def test_a_date_that_is_written_is_read_again(second: int) -> None:
    date = Validators(ETAG, second * 1_000 + 999).headers["last-modified"]
    assert parse_date(date) == second
    assert datetime.strptime(date, "%a, %d %b %Y %H:%M:%S GMT").replace(tzinfo=UTC).timestamp() == second

"""Conditional requests and ranges: which response the headers of a request ask for, given the stored object.

The functions depend only on the request's headers and the object's *validators* (its etag and, if known, its upload
time). Preconditions are evaluated in the order of RFC 9110, and the first that is false decides:

1. ``If-Match``; without it, ``If-Unmodified-Since``: else 412
2. ``If-None-Match``; without it, ``If-Modified-Since``: else 304, or 412 if the method is not GET or HEAD
3. ``Range`` of a GET, unless ``If-Range`` is false: 206, or 416 if it begins at or after the end

As the RFC asks, what cannot be parsed is ignored: an invalid date, a range in another unit. Multiple ranges are
answered with the whole object, which the RFC allows.

Sources
-------
RFC 9110: 5.6.7 (dates), 8.8 (validators), 13.1 (conditions), 13.2.2 (their order), 14 (ranges). R2 accepts these
headers as ``onlyIf`` and ``range`` of ``R2Bucket.get``.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import formatdate

from reference_impl.errors import RequestError
from reference_impl.messages import Request, Response

ENTITY_TAG = re.compile(r'(W/)?"([\x21\x23-\x7e\x80-\xff]*)"')
ENTITY_TAGS = re.compile(rf"[ \t,]*(?:{ENTITY_TAG.pattern}[ \t]*(?:,[ \t,]*|$))+")
RANGE = re.compile(r"bytes=[ \t,]*(\d*)-(\d*)[ \t,]*", re.IGNORECASE | re.ASCII)
DATE_FORMATS = ("%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %d %H:%M:%S %Y")
"""The three formats of an HTTP date: IMF-fixdate, RFC 850 and asctime."""
DIGITS_MAX = 18
"""A position with more digits is past the end of any object."""


@dataclass(frozen=True)
class Validators:
    """What distinguishes one version of an object from another.

    Parameters
    ----------
    etag
        Without quotation marks. A hash of the content, so it is a strong validator.
    uploaded_unix_ms
        Upload time; None if unknown. A strong validator too: R2 takes one write a second to a key.
    """

    etag: str
    uploaded_unix_ms: int | None = None

    @property
    def uploaded_s(self) -> int | None:
        """The upload time in whole seconds, the resolution of an HTTP date."""
        return None if self.uploaded_unix_ms is None else self.uploaded_unix_ms // 1_000

    @property
    def headers(self) -> dict[str, str]:
        """The validators as response headers."""
        headers = {"etag": f'"{self.etag}"'}
        if self.uploaded_s is not None:
            headers["last-modified"] = formatdate(self.uploaded_s, usegmt=True)
        return headers


def respond(request: Request, validators: Validators, *, content: bytes) -> Response:
    """Return the response to a request for a stored object: the object (200), a range of it (206) or 304.

    Raises
    ------
    RequestError
        412, if a precondition is false; 416, if the range begins at or after the end.
    """
    failed = failed_precondition(request, validators)
    if failed == 304:
        return Response(304, b"", validators.headers)
    if failed is not None:
        rule = f"the stored object has the etag {validators.etag}; fetch it and decide again"
        raise RequestError(failed, "precondition_failed", f"a precondition is false: {rule}")
    headers = {"content-type": "application/octet-stream", "accept-ranges": "bytes", **validators.headers}
    part = wanted_range(request, validators, size_bytes=len(content))
    if part is None:
        return Response(200, content, headers)
    headers["content-range"] = f"bytes {part.start}-{part.stop - 1}/{len(content)}"
    return Response(206, content[part.start : part.stop], headers)


def failed_to_write(request: Request, validators: Validators | None) -> int | None:
    """Return 412 if the preconditions of a write forbid it, given what is stored now (None: nothing); else None."""
    if validators is not None:
        return failed_precondition(request, validators)
    return 412 if "if-match" in request.headers else None


def check_write(request: Request, validators: Validators | None) -> None:
    """Refuse a write whose preconditions are false.

    Raises
    ------
    RequestError
        412.
    """
    if failed_to_write(request, validators) is not None:
        stored = "there is no object" if validators is None else f"the stored object has the etag {validators.etag}"
        raise RequestError(412, "precondition_failed", f"a precondition is false: {stored}; fetch it and decide again")


def sent_bytes(request: Request, validators: Validators, *, size_bytes: int) -> int:
    """Return how many bytes of an object of *size_bytes* the response to a request carries."""
    if request.method == "HEAD" or failed_precondition(request, validators) is not None:
        return 0
    try:
        part = wanted_range(request, validators, size_bytes=size_bytes)
    except RequestError:
        return 0
    return size_bytes if part is None else len(part)


def failed_precondition(request: Request, validators: Validators) -> int | None:
    """Return the status that the preconditions of a request demand, 304 or 412; None if all are true."""
    return _failed_to_match(request.headers, validators) or _failed_to_differ(request, validators)


def wanted_range(request: Request, validators: Validators, *, size_bytes: int) -> range | None:
    """Return the byte positions that a request asks for; None for the whole object.

    Raises
    ------
    RequestError
        416, if the range begins at or after the end.
    """
    text = request.headers.get("range")
    if request.method != "GET" or text is None or not _may_be_continued(request.headers, validators):
        return None
    return parse_range(text, size_bytes)


def parse_range(text: str, size_bytes: int) -> range | None:
    """Parse the range of an object of *size_bytes*; None if *text* is not a single range of bytes.

    Raises
    ------
    RequestError
        416, if it begins at or after the end, or asks for the last 0 bytes.
    """
    found = RANGE.fullmatch(text.strip(" \t"))
    if found is None or found.groups() == ("", ""):
        return None
    first, last = found.groups()
    if first == "":
        start, end = max(0, size_bytes - _position(last)), size_bytes
    else:
        start, end = _position(first), size_bytes
        if last and _position(last) < start:
            return None
        end = min(end, _position(last) + 1) if last else end
    if start < end:
        return range(start, end)
    if first == "" and _position(last) > 0:
        # The last n bytes of an empty object are the whole object.
        return None
    rule = f"must begin before the end, at {size_bytes}"
    whole = {"content-range": f"bytes */{size_bytes}"}
    raise RequestError(416, "range_behind_end", f"range={text[:80]!r} {rule}", headers=whole)


def parse_date(text: str) -> int | None:
    """Parse an HTTP date into seconds since 1970; None if it is invalid."""
    for shape in DATE_FORMATS:
        try:
            return int(datetime.strptime(text.strip(" \t"), shape).replace(tzinfo=UTC).timestamp())
        except ValueError:
            continue
    return None


def _failed_to_match(headers: Mapping[str, str], validators: Validators) -> int | None:
    if "if-match" in headers:
        return None if _is_listed(headers["if-match"], validators, weakly=False) else 412
    since_s = parse_date(headers.get("if-unmodified-since", ""))
    if since_s is None or validators.uploaded_s is None:
        return None
    return None if validators.uploaded_s <= since_s else 412


def _failed_to_differ(request: Request, validators: Validators) -> int | None:
    headers, is_read = request.headers, request.method in ("GET", "HEAD")
    if "if-none-match" in headers:
        is_same = _is_listed(headers["if-none-match"], validators, weakly=True)
        return None if not is_same else 304 if is_read else 412
    since_s = parse_date(headers.get("if-modified-since", ""))
    if not is_read or since_s is None or validators.uploaded_s is None:
        return None
    return None if validators.uploaded_s > since_s else 304


def _may_be_continued(headers: Mapping[str, str], validators: Validators) -> bool:
    """Evaluate ``If-Range``: whether the client's part and the stored object are of one version."""
    text = headers.get("if-range")
    if text is None:
        return True
    tag = ENTITY_TAG.fullmatch(text.strip(" \t"))
    if tag is not None:
        return tag.groups() == (None, validators.etag)
    since_s = parse_date(text)
    return since_s is not None and since_s == validators.uploaded_s


def _is_listed(text: str, validators: Validators, *, weakly: bool) -> bool:
    if text.strip(" \t") == "*":
        return True
    if not ENTITY_TAGS.fullmatch(text):
        return False
    return any(tag == validators.etag and (weakly or not is_weak) for is_weak, tag in ENTITY_TAG.findall(text))


def _position(digits: str) -> int:
    return int(digits) if len(digits) <= DIGITS_MAX else 10**DIGITS_MAX

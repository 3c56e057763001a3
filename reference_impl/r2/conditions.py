"""Conditional requests and ranges: which answer the headers of a request ask for, given what is stored.

Everything here is a function of headers and of the stored object's *validators* (its etag and, if known, when it was
uploaded); nothing is read. The conditions are looked at in the standard's order, and the first that fails decides:

1. ``If-Match``, or without it ``If-Unmodified-Since``: else 412
2. ``If-None-Match``, or without it ``If-Modified-Since``: else 304, or 412 for what is not a GET or HEAD
3. ``Range`` of a GET, if ``If-Range`` allows: 206, or 416 for a range that begins behind the end

What cannot be understood is ignored, as the standard wants: a date that is none, a range in another unit. Several
ranges at once are answered with the whole object, which the standard allows.

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
"""The three shapes of a date: today's, that of RFC 850 and that of C."""
DIGITS_MAX = 18
"""Longer positions are behind the end of everything."""


@dataclass(frozen=True)
class Validators:
    """What tells one version of an object from another.

    Parameters
    ----------
    etag
        Without quotation marks; two versions never share one, so it is a strong validator.
    uploaded_unix_ms
        When it was uploaded; None if that is not known. Of one key at most one version is uploaded in a second.
    """

    etag: str
    uploaded_unix_ms: int | None = None

    @property
    def uploaded_s(self) -> int | None:
        """The second of the upload, which is all that a date in a header can say."""
        return None if self.uploaded_unix_ms is None else self.uploaded_unix_ms // 1_000

    @property
    def headers(self) -> dict[str, str]:
        """As an answer's head tells them."""
        told = {"etag": f'"{self.etag}"'}
        if self.uploaded_s is not None:
            told["last-modified"] = formatdate(self.uploaded_s, usegmt=True)
        return told


def respond(request: Request, validators: Validators, content: bytes) -> Response:
    """Return what *request* asks for of a stored object: all of it, a part of it, or the word that it has not changed.

    Raises
    ------
    RequestError
        412 for a condition that does not hold, 416 for a range that begins behind the end.
    """
    failed = failed_condition(request.method, request.headers, validators)
    if failed == 304:
        return Response(304, b"", validators.headers)
    if failed is not None:
        rule = f"the stored one has the etag {validators.etag}; fetch it and decide anew"
        raise RequestError(failed, "condition_failed", f"the condition does not hold: {rule}")
    headers = {"content-type": "application/octet-stream", "accept-ranges": "bytes", **validators.headers}
    part = wanted_range(request.method, request.headers, validators, size_bytes=len(content))
    if part is None:
        return Response(200, content, headers)
    headers["content-range"] = f"bytes {part.start}-{part.stop - 1}/{len(content)}"
    return Response(206, content[part.start : part.stop], headers)


def failed_condition(method: str, headers: Mapping[str, str], validators: Validators) -> int | None:
    """Return the status that the conditions of a request demand in place of an answer: 304, 412, or None.

    Parameters
    ----------
    method, headers
        Of the request; names in lower case.
    validators
        Of what is stored.
    """
    return _failed_to_match(headers, validators) or _failed_to_differ(method, headers, validators)


def wanted_range(method: str, headers: Mapping[str, str], validators: Validators, *, size_bytes: int) -> range | None:
    """Return the positions of the part of an object that a request asks for; None for all of it.

    Raises
    ------
    RequestError
        416, if the range begins behind the end.
    """
    if method != "GET" or "range" not in headers or not _may_be_continued(headers, validators):
        return None
    return parse_range(headers["range"], size_bytes)


def parse_range(text: str, size_bytes: int) -> range | None:
    """Read a range of an object of *size_bytes*; None if it is not one range of bytes.

    Raises
    ------
    RequestError
        416, if it begins behind the end, or is the last 0 bytes.
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
        # The last bytes of an object that has none are all of it.
        return None
    rule = f"must begin before the end, at {size_bytes}"
    whole = {"content-range": f"bytes */{size_bytes}"}
    raise RequestError(416, "range_behind_end", f"range={text[:80]!r} {rule}", headers=whole)


def parse_date(text: str) -> int | None:
    """Read a date of a header as a second since 1970; None if it is none."""
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


def _failed_to_differ(method: str, headers: Mapping[str, str], validators: Validators) -> int | None:
    is_read = method in ("GET", "HEAD")
    if "if-none-match" in headers:
        is_same = _is_listed(headers["if-none-match"], validators, weakly=True)
        return None if not is_same else 304 if is_read else 412
    since_s = parse_date(headers.get("if-modified-since", ""))
    if not is_read or since_s is None or validators.uploaded_s is None:
        return None
    return None if validators.uploaded_s > since_s else 304


def _may_be_continued(headers: Mapping[str, str], validators: Validators) -> bool:
    """Whether the part that the client has and the stored object are of one version."""
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

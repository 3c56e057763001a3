"""What a file is: compressed or not, in which encoding, with which separator, and what its columns are called.

Only its first bytes are read here. ``gz``, ``bz2`` and ``zst`` are recognised by their first bytes, UTF-16 by its mark
or by its zeros.
"""

import csv
import json
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from sim.foundation.errors import ScenarioError
from sim.foundation.schema import PAGE

SNIFFED_BYTES = 256 * 1024
"""How much of a file is looked at to find out what it is."""

SNIFFED_OBJECTS = 50
"""Lines of JSON whose keys are taken for the columns."""

MAGIC = {b"\x1f\x8b": "gzip", b"BZh": "bz2", b"\x28\xb5\x2f\xfd": "zstd"}
"""First bytes of compressed files."""

ARCHIVES = {b"PK\x03\x04": "zip", b"7z\xbc\xaf": "7z", b"\xfd7zXZ": "xz", b"PAR1": "Parquet"}
"""First bytes of files that hold others, or are packed in a way that is not read."""

MARKS = {b"\xef\xbb\xbf": "utf-8", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
"""Byte order marks."""

ACCESS_LINE = (
    r'^(?:\S+ )?(?P<host>\S+) \S+ (?:"[^"]*"|\S+) \[(?P<time>[^\]]+)\] '
    r'"(?P<request>(?:[^"\\]|\\.)*)" (?P<status>\d{3}|-) (?P<size>\d+|-)'
)
"""The Common Log Format, perhaps with a virtual host before it; the Combined one has two more fields behind it."""

ACCESS_COLUMNS = ("host", "time", "request", "status", "size")

SPAN_COLUMNS = ("startTimeUnixNano", "latency_ms", "kind", "method", "path", "http.route", "status")
"""What is taken of a span of OpenTelemetry."""

SEPARATORS = ",;\t|"

Kind = Literal["csv", "ndjson", "access", "otlp"]


@dataclass(frozen=True)
class Source:
    """A file of requests, found out but not read.

    Attributes
    ----------
    path : Path
    kind : {"csv", "ndjson", "access", "otlp"}
    names : tuple of str
        Columns; of JSON objects the dotted names of their keys.
    separator : str
    header_lines : int
        Lines up to the first row.
    compression, encoding : str
    behind : tuple of str
        What an access log has behind its columns, by the names of the Combined Log Format; it is not read.
    """

    path: Path
    kind: Kind
    names: tuple[str, ...]
    separator: str = ","
    header_lines: int = 0
    compression: str = ""
    encoding: str = "utf-8"
    behind: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Name of the file, for messages."""
        return self.path.name

    @contextmanager
    def stream(self) -> Iterator[tuple[Any, Any]]:
        """Yield the text as UTF-8, and the file below it, whose position says how far one is."""
        with ExitStack() as stack:
            file = stack.enter_context(pa.OSFile(str(self.path)))
            text = (
                stack.enter_context(pa.input_stream(file, compression=self.compression)) if self.compression else file
            )
            if self.encoding != "utf-8":
                text = stack.enter_context(pa.transcoding_input_stream(text, self.encoding, "utf-8"))
            yield text, file


def source(path: str | Path) -> Source:
    """Find out what a file is.

    Raises
    ------
    ScenarioError
        It is missing, empty, no regular file, no text, or of a kind that holds no requests.
    """
    path = Path(path)
    compression, encoding = _bytes(path)
    raw = Source(path, "csv", (), compression=compression, encoding=encoding)
    try:
        with raw.stream() as (text, _):
            start = text.read(SNIFFED_BYTES)
    except OSError as error:
        raise ScenarioError(f"{path.name} cannot be decompressed: {str(error).lower()} ({PAGE})") from None
    except UnicodeDecodeError as error:
        raise ScenarioError(f"{path.name} is not {encoding} text, at byte {error.start} ({PAGE})") from None
    lines = _text(start, path.name).removeprefix("\ufeff").splitlines()
    return _found(raw, lines)


def _bytes(path: Path) -> tuple[str, str]:
    """Compression and encoding, by the first bytes."""
    if path.exists() and not path.is_file():
        raise ScenarioError(f"{path} cannot be read: it must be a regular file ({PAGE})")
    try:
        with path.open("rb") as file:
            head = file.read(8)
        packed = next((name for magic, name in ARCHIVES.items() if head.startswith(magic)), "")
        if packed:
            raise ScenarioError(f"{path.name} is a {packed} file; unpack it: CSV, .gz, .bz2 and .zst are read ({PAGE})")
        compression = next((name for magic, name in MAGIC.items() if head.startswith(magic)), "")
        if compression:
            with pa.OSFile(str(path)) as file, pa.input_stream(file, compression=compression) as inner:
                head = inner.read(8)
    except FileNotFoundError:
        raise ScenarioError(f"{path} does not exist ({PAGE})") from None
    except OSError as error:
        raise ScenarioError(f"{path} cannot be read: {error.strerror or str(error).lower()} ({PAGE})") from None
    marked = next((name for mark, name in MARKS.items() if head.startswith(mark)), None)
    if marked is not None:
        return compression, marked
    pairs = head[: len(head) // 2 * 2]
    if pairs and b"\x00" in pairs:
        odd, even = pairs[1::2].count(0), pairs[::2].count(0)
        if max(odd, even) == len(pairs) // 2 and min(odd, even) == 0:
            return compression, "utf-16-le" if odd else "utf-16-be"
    return compression, "utf-8"


def _text(start: bytes, name: str) -> str:
    """The sniffed bytes as text; a character that is cut at their end is left out."""
    try:
        return start.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start >= len(start) - 3 and len(start) == SNIFFED_BYTES:
            return start[: error.start].decode("utf-8")
        raise ScenarioError(f"{name} is not UTF-8 text, at byte {error.start} ({PAGE})") from None


def _found(raw: Source, lines: list[str]) -> Source:
    """The kind of the file, by its first line that says something."""
    separator, fields = "", ""
    for number, line in enumerate(lines):
        if line.lower().startswith("sep=") and len(line.strip()) == len("sep=;"):
            separator = line.strip()[-1]
        elif line.startswith("#Fields:"):
            fields = line.removeprefix("#Fields:").strip()
        elif line.strip() and not line.lstrip().startswith("#"):
            return _of_line(raw, lines[number:], skipped=number, separator=separator, fields=fields)
    raise ScenarioError(f"{raw.name} is empty; its first line must name the columns ({PAGE})")


def _of_line(raw: Source, lines: list[str], *, skipped: int, separator: str, fields: str) -> Source:
    first = lines[0]
    made: dict[str, Any] = {"compression": raw.compression, "encoding": raw.encoding}
    if fields:  # The Extended Log Format of the W3C: the header is a comment.
        between = "\t" if "\t" in first else " "
        return Source(raw.path, "csv", tuple(fields.split()), separator=between, header_lines=skipped, **made)
    if re.match(r'\s*\{\s*"resourceSpans"', first):
        return Source(raw.path, "otlp", SPAN_COLUMNS, header_lines=skipped, **made)
    if first.lstrip().startswith("{"):
        return Source(raw.path, "ndjson", _keys(lines, raw.name, skipped=skipped), header_lines=skipped, **made)
    if first.lstrip().startswith("["):
        raise ScenarioError(f"{raw.name} is one JSON list; one object a line is read: jq -c '.[]' {raw.name} ({PAGE})")
    if access := re.match(ACCESS_LINE, first):
        behind = tuple(_behind(first[access.end() :]))
        return Source(raw.path, "access", ACCESS_COLUMNS, header_lines=skipped, behind=behind, **made)
    separator = separator or max(SEPARATORS, key=lambda one: (re.sub(r'"[^"]*"', "", first).count(one), one == ","))
    names = _header(first, separator, f"{raw.name}:{skipped + 1}")
    return Source(raw.path, "csv", names, separator=separator, header_lines=skipped + 1, **made)


def _behind(rest: str) -> Iterator[str]:
    """Name what an access log's line has behind the Common Log Format's columns."""
    fields = re.findall(r'"(?:[^"\\]|\\.)*"|\S+', rest)
    quoted = [field.startswith('"') for field in fields[:2]]
    combined = ("referrer", "user agent") if quoted == [True, True] else ()
    yield from combined
    if more := len(fields) - len(combined):
        yield f"{more} field{'s'[: more - 1]} behind them"


def _header(line: str, separator: str, where: str) -> tuple[str, ...]:
    try:
        names = tuple(cell.strip() for cell in next(csv.reader([line], delimiter=separator, strict=True)))
    except csv.Error as error:
        raise ScenarioError(f"{where} is not CSV: {error} ({PAGE})") from None
    seen: set[str] = set()
    for name in names:
        if name.lower() in seen and name:
            raise ScenarioError(f"{where} names the column {name} twice ({PAGE})")
        seen.add(name.lower())
    return names


def _keys(lines: list[str], name: str, *, skipped: int) -> tuple[str, ...]:
    """Dotted names of the keys of the first objects, in order of appearance."""
    names: dict[str, None] = {}
    for number, line in enumerate(lines[:SNIFFED_OBJECTS], start=skipped + 1):
        if not line.strip():
            continue
        try:
            found = json.loads(line)
        except ValueError:
            if names:
                break  # The sniffed bytes may end within a line; a wrong one is found when it is read.
            many = f": jq -c . {name}" if line.strip() == "{" else ""
            raise ScenarioError(f"{name}:{number} is not one JSON object a line{many} ({PAGE})") from None
        names.update(dict.fromkeys(flat(found)))
    return tuple(names)


def flat(value: Any, above: str = "") -> dict[str, Any]:
    """Return the values of nested JSON objects by dotted names; lists are left out.

    >>> flat({"Event": {"Request": {"Method": "GET"}}, "Logs": []})
    {'Event.Request.Method': 'GET'}
    """
    if not isinstance(value, dict):
        return {} if isinstance(value, list) or not above else {above: value}
    found: dict[str, Any] = {}
    for key, inner in value.items():
        found.update(flat(inner, f"{above}.{key}" if above else str(key)))
    return found

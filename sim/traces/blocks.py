"""A file, block by block: the cells of the columns asked for, as text.

CSV goes through pyarrow's streaming reader; access logs and lines of JSON come through the same reader as one column of
lines. A block holds some megabytes, whatever the size of the file.
"""

import csv
import io
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.json as pa_json

from sim.foundation.errors import ScenarioError
from sim.foundation.schema import PAGE
from sim.traces.opening import ACCESS_LINE, Source, flat
from sim.traces.spans import spans_of

BLOCK_BYTES = 4 * 1024 * 1024
"""Text that is understood at a time."""

WHOLE_LINES = "\x1f"
"""A separator that stands in no line."""

Cells = Any
"""A pyarrow array of text, shape (rows,)."""

Advance = Callable[[int], None]
"""Takes the position in the file, in bytes."""


@dataclass(frozen=True)
class Block:
    """Neighbouring rows.

    Attributes
    ----------
    first_row_number : int
        Number of the first of them, from 0, among those that :func:`line_of` counts.
    cells : dict of str to Cells
        By column.
    rows : int
    """

    first_row_number: int
    cells: dict[str, Cells]
    rows: int


class CellError(ScenarioError):
    """A cell that is not understood: its row within the block, and the rule."""

    def __init__(self, row: int, rule: str) -> None:
        super().__init__(rule)
        self.row = row


def blocks(source: Source, columns: Sequence[str], *, advance: Advance = lambda _: None) -> Iterator[Block]:
    """Yield the rows of a file.

    Parameters
    ----------
    source : Source
    columns : sequence of str
        Those that are wanted, by name.
    advance : callable
        Called after each block with the bytes of the file read so far.

    Raises
    ------
    ScenarioError
        The file is no CSV, no JSON or no text at some line.
    """
    wanted = [source.names.index(name) for name in columns]
    takers = {"csv": _csv_cells, "ndjson": _json_cells, "access": _access_cells, "otlp": _span_cells}
    take = takers[source.kind]
    first_row_number = 0
    for batch in _batches(source, wanted, advance=advance):
        cells = take(source, batch, columns=columns, first_row_number=first_row_number)
        yield Block(first_row_number, cells, len(cells[""]))
        first_row_number += batch.num_rows


def _batches(source: Source, wanted: Sequence[int], *, advance: Advance) -> Iterator[Any]:
    """Record batches of pyarrow's reader: of CSV the wanted columns and the first one, else whole lines."""
    tabular = source.kind == "csv"
    names = [f"c{place}" for place in range(len(source.names))] if tabular else ["c0"]
    taken = [names[place] for place in dict.fromkeys((0, *wanted))] if tabular else names
    wrong: list[tuple[int, int]] = []

    def judge(row: Any) -> str:
        if row.text.lstrip().startswith("#") or not row.text.strip(" \t\r\n" + source.separator):
            return "skip"
        wrong.append((row.number, row.actual_columns))
        return "error"

    parse = pa_csv.ParseOptions(
        delimiter=source.separator if tabular else WHOLE_LINES,
        quote_char='"' if tabular else False,
        newlines_in_values=tabular,
        invalid_row_handler=judge,
    )
    read = pa_csv.ReadOptions(
        use_threads=False, block_size=BLOCK_BYTES, skip_rows=source.header_lines, column_names=names
    )
    text_only = pa_csv.ConvertOptions(
        column_types=dict.fromkeys(taken, pa.string()), include_columns=taken, strings_can_be_null=False
    )
    try:
        # Closed here: a reader that is left open at exit reads ahead from a file that is gone.
        with (
            source.stream() as (stream, file),
            pa_csv.open_csv(stream, read_options=read, parse_options=parse, convert_options=text_only) as reader,
        ):
            for batch in reader:
                yield batch
                advance(file.tell())
    except (pa.ArrowInvalid, OSError, UnicodeError) as error:
        raise ScenarioError(_unreadable(source, error, wrong=wrong)) from None


def _unreadable(source: Source, error: Exception, *, wrong: list[tuple[int, int]]) -> str:
    """What is wrong with a file that pyarrow gives up on, in one line."""
    if wrong:
        number, found = wrong[0]
        line = _wide_line(source, len(source.names))
        return f"{source.name}:{line or number} has {found} cells, must have {len(source.names)} as its header ({PAGE})"
    if isinstance(error, UnicodeError) or "UTF8" in str(error):
        return f"{source.name} is not {source.encoding.upper()} text throughout ({PAGE})"
    if isinstance(error, OSError) and not isinstance(error, pa.ArrowInvalid):
        return f"{source.name} cannot be read to its end: {str(error).lower()} ({PAGE})"
    said = str(error).splitlines()[0][:120]
    if "mpty" in said:
        return f"{source.name} holds no row below its header ({PAGE})"
    return f"{source.name} is not CSV: {said} ({PAGE})"


def _csv_cells(source: Source, batch: Any, *, columns: Sequence[str], first_row_number: int) -> dict[str, Cells]:  # noqa: ARG001  # one signature for all forms
    found = {name: _trimmed(batch[f"c{source.names.index(name)}"]) for name in columns}
    return {"": batch["c0"], **found}


def _trimmed(cells: Cells) -> Cells:
    return pc.utf8_trim_whitespace(cells)


def _access_cells(source: Source, batch: Any, *, columns: Sequence[str], first_row_number: int) -> dict[str, Cells]:
    lines = batch["c0"]
    parts = pc.extract_regex(lines, pattern=ACCESS_LINE)
    strange = pc.and_(pc.is_null(parts), pc.invert(pc.match_substring_regex(lines, r"^\s*(#.*)?$")))
    row = pc.index(strange, True).as_py()
    if row >= 0:
        where = f"{source.name}:{line_of(source, first_row_number + row)}"
        shown = lines[row].as_py().partition("?")[0][:60]  # Behind the ? there may be secrets.
        raise ScenarioError(f'{where} "{shown}" is not a line of an access log ({PAGE})')
    return {"": lines, **{name: pc.fill_null(pc.struct_field(parts, name), "") for name in columns}}


def _json_cells(source: Source, batch: Any, *, columns: Sequence[str], first_row_number: int) -> dict[str, Cells]:
    lines = batch["c0"]
    found = _json_fast(lines, columns)
    if found is None:
        found = _json_slowly(source, lines, columns=columns, first_row_number=first_row_number)
    return {"": lines, **{name: _trimmed(cells) for name, cells in found.items()}}


def _json_fast(lines: Cells, columns: Sequence[str]) -> dict[str, Cells] | None:
    """Cells of lines that are all like the first; None if they are not."""
    try:
        first = flat(json.loads(lines[0].as_py()))
    except ValueError:
        return None
    tree: dict[str, Any] = {}
    for name in columns:
        *above, last = name.split(".")
        inside = tree
        for part in above:
            inside = inside.setdefault(part, {})
            if not isinstance(inside, dict):
                return None
        inside[last] = _type_of(first.get(name))
    options = pa_json.ParseOptions(explicit_schema=pa.schema(_fields(tree)), unexpected_field_behavior="ignore")
    text = "\n".join(lines.to_pylist()).encode()
    try:
        table = pa_json.read_json(
            pa.BufferReader(text),
            read_options=pa_json.ReadOptions(use_threads=False, block_size=2 * BLOCK_BYTES),
            parse_options=options,
        )
    except pa.ArrowInvalid:
        return None
    if table.num_rows != len(lines):
        return None
    return {name: _as_text(_inside(table, name)) for name in columns}


def _type_of(value: Any) -> Any:
    kinds = {bool: pa.bool_(), int: pa.int64(), float: pa.float64()}
    return kinds.get(type(value), pa.string())


def _fields(tree: dict[str, Any]) -> list[Any]:
    return [
        pa.field(name, pa.struct(_fields(inner)) if isinstance(inner, dict) else inner) for name, inner in tree.items()
    ]


def _inside(table: Any, name: str) -> Any:
    top, *below = name.split(".")
    found = table[top].combine_chunks()
    for part in below:
        found = pc.struct_field(found, part)
    return found


def _as_text(cells: Any) -> Cells:
    """Cells of any type as text, null as blank."""
    if isinstance(cells, pa.ChunkedArray):
        cells = cells.combine_chunks()
    return pc.fill_null(cells if cells.type == pa.string() else pc.cast(cells, pa.string()), "")


def _json_slowly(source: Source, lines: Cells, *, columns: Sequence[str], first_row_number: int) -> dict[str, Cells]:
    """The same, line by line, for objects that differ from each other."""
    found: dict[str, list[str]] = {name: [] for name in columns}
    for row, line in enumerate(lines.to_pylist()):
        try:
            values = flat(json.loads(line)) if line.strip() and not line.lstrip().startswith("#") else {}
        except (ValueError, RecursionError):
            where = f"{source.name}:{line_of(source, first_row_number + row)}"
            raise ScenarioError(f'{where} "{line.partition("?")[0][:40]}" is not a JSON object ({PAGE})') from None
        for name, cells in found.items():
            value = values.get(name)
            cells.append("" if value is None else str(value))
    return {name: pa.array(cells, pa.string()) for name, cells in found.items()}


def _span_cells(source: Source, batch: Any, *, columns: Sequence[str], first_row_number: int) -> dict[str, Cells]:
    """The spans of lines that hold many each; messages about a cell name the line."""
    found: dict[str, list[str]] = {name: [] for name in ("", *columns)}
    for row, line in enumerate(batch["c0"].to_pylist()):
        try:
            spans = list(spans_of(json.loads(line)))
        except (ValueError, TypeError, AttributeError, KeyError):
            where = f"{source.name}:{line_of(source, first_row_number + row)}"
            raise ScenarioError(f"{where} is not a JSON object of resourceSpans ({PAGE})") from None
        for span in spans:
            for name, cells in found.items():
                cells.append(span.get(name, ""))
    return {name: pa.array(cells, pa.string()) for name, cells in found.items()}


def line_of(source: Source, row: int) -> int:
    """Return the line of the file, from 1, in which row number *row* ends: read again, as far as there."""
    return next((line for number, (line, _) in enumerate(_rows(source)) if number == row), 0)


def _wide_line(source: Source, width: int) -> int:
    """The first line whose cells are not as many as the header's."""
    rows = _rows(source, every=True)
    return next((line for line, cells in rows if cells != width), 0)


def _rows(source: Source, *, every: bool = False) -> Iterator[tuple[int, int]]:
    """Line and number of cells of each row that pyarrow's reader hands over, or of *every* one that says something."""
    with source.stream() as (stream, _):
        lines = io.TextIOWrapper(stream, encoding="utf-8", errors="replace", newline="")
        for _ in range(source.header_lines):
            lines.readline()
        if source.kind != "csv":
            full = ((number, 1) for number, line in enumerate(lines, start=1) if line.strip("\r\n"))
            yield from ((number + source.header_lines, cells) for number, cells in full)
            return
        reader = csv.reader(lines, delimiter=source.separator)
        for cells in reader:
            line = source.header_lines + reader.line_num
            says = any(cell.strip() for cell in cells) and not cells[0].lstrip().startswith("#")
            if (every and says) or (not every and len(cells) == len(source.names) and cells != [""]):
                yield line, len(cells)

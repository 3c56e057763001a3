"""Rules for committed notebooks, as functions from a notebook to findings.

nbval compares the outputs of a cell only where the notebook carries a count and outputs: a notebook stripped of both
passes every comparison. So these rules keep the comparison armed, and the cells small enough to be read.
"""

import json
import re
from pathlib import Path
from typing import Any

Notebook = dict[str, Any]

CELL_LINES_MAX = 12
FUNCTION_LINES_MAX = 5
NOTEBOOK_BYTES_MAX = 300 * 1024
UNCHECKED_TAG = "nbval-ignore-output"
ERROR_TAG = "raises-exception"
PICTURES = {"image/png", "image/jpeg", "image/svg+xml"}
"""Outputs that nbval passes over: a figure is never evidence, so a checked number stands beside it."""

FUNCTION = re.compile(r"^def .*\n(?:[ \t].*\n?|\n(?=[ \t]))*", flags=re.MULTILINE)
"""A function at the top level of a cell: its first line and what is indented below."""


def load(path: Path) -> Notebook:
    """A notebook file as it is stored."""
    notebook: Notebook = json.loads(path.read_text("utf-8"))
    return notebook


def code_cells(notebook: Notebook) -> list[dict[str, Any]]:
    """All code cells, in order."""
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def source(cell: dict[str, Any]) -> str:
    """The text of a cell, whether stored as one string or as lines."""
    return "".join(cell["source"])


def tags(cell: dict[str, Any]) -> list[str]:
    """The tags of a cell."""
    return list(cell["metadata"].get("tags", []))


def is_checked(output: dict[str, Any]) -> bool:
    """Whether nbval compares this output: printed text, or a value that is not only a picture."""
    if output["output_type"] == "stream":
        return bool(output["name"] == "stdout")
    return bool(set(output.get("data", {})) - PICTURES)


def findings(notebook: Notebook, *, size_bytes: int = 0) -> list[str]:
    """Every breach of the rules, one line each."""
    cells = code_cells(notebook)
    found = [finding for number, cell in enumerate(cells, start=1) for finding in _cell(cell, number)]
    counts = [cell["execution_count"] for cell in cells]
    if counts != list(range(1, len(cells) + 1)):
        found.append(f"execution counts are {counts}, not 1..{len(cells)}: run it from top to bottom, never strip it")
    if not any(is_checked(o) for cell in cells if UNCHECKED_TAG not in tags(cell) for o in cell["outputs"]):
        found.append("no output is checked")
    if notebook["cells"][0]["cell_type"] != "markdown" or not source(notebook["cells"][0]).startswith("# "):
        found.append("the first cell is not a title")
    if not any("simplefilter(" in source(cell) and "error" in source(cell) for cell in cells[:1]):
        found.append('the first code cell does not make warnings errors: warnings.simplefilter("error")')
    if notebook["metadata"]["kernelspec"]["name"] != "python3":
        found.append(f"kernel {notebook['metadata']['kernelspec']['name']} is not python3")
    if size_bytes > NOTEBOOK_BYTES_MAX:
        found.append(f"{size_bytes} bytes are more than {NOTEBOOK_BYTES_MAX}")
    return found


def _cell(cell: dict[str, Any], number: int) -> list[str]:
    """Breaches of one code cell."""
    lines = source(cell).splitlines()
    found = []
    if len(lines) > CELL_LINES_MAX:
        found.append(f"cell {number} has {len(lines)} lines, more than {CELL_LINES_MAX}")
    if lines and lines[-1].rstrip().endswith(";"):
        found.append(f"cell {number} ends in a semicolon, which nbval does not honour")
    if re.search(r"^class ", source(cell), flags=re.MULTILINE):
        found.append(f"cell {number} defines a class: it belongs into sim/")
    functions = FUNCTION.findall(source(cell))
    longest = max((len(text.splitlines()) for text in functions), default=0)
    if longest > FUNCTION_LINES_MAX:
        found.append(f"cell {number} defines a function of {longest} lines: it belongs into sim/")
    if any(output["output_type"] == "error" for output in cell["outputs"]) and ERROR_TAG not in tags(cell):
        found.append(f"cell {number} stores an error")
    return found


def with_other_number(notebook: Notebook) -> Notebook:
    """A copy in which one digit of one checked output says something else."""
    copy: Notebook = json.loads(json.dumps(notebook))
    for cell in code_cells(copy):
        for output in cell["outputs"]:
            if UNCHECKED_TAG in tags(cell) or not is_checked(output):
                continue
            texts = output if output["output_type"] == "stream" else output["data"]
            for kind in ("text", "text/plain", "text/html"):
                text = "".join(texts.get(kind, ""))
                if digit := re.search(r"(?<![\w#])\d+\.\d*[0-9]", text):
                    place = digit.end() - 1
                    texts[kind] = f"{text[:place]}{(int(text[place]) + 1) % 10}{text[place + 1 :]}"
                    return copy
    raise AssertionError("no checked output holds a decimal number")

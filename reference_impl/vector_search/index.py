"""An index of vectors: stored in SQLite, searched by comparing every visible one with the query.

::

    insert ──► documents (SQLite) ──► visible after a while ──┐
    query ─────────────────────────► cosine with every vector ┴─► the k nearest, best first

The answer is exact: no approximation stands between it and the definition of a nearest neighbour. Equal scores are
ordered by id.

Sources
-------
Vectorize: cosine similarity from -1 to 1, inserts are asynchronous, answers and batches are bounded.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reference_impl.sqlite.engines import Engine

Vectors = NDArray[np.float32]

ROW_OVERHEAD_BYTES = 20
"""What SQLite adds to a row's text and vector, about: its header, its id, its part of a page's."""
TABLE = "CREATE TABLE IF NOT EXISTS documents (id INTEGER PRIMARY KEY, text TEXT NOT NULL, vector BLOB NOT NULL)"


@dataclass(frozen=True)
class Match:
    """A neighbour: its id, and the cosine of the angle between it and the query."""

    document_id: int
    cosine_ratio: float


class Index:
    """Vectors of one length.

    Parameters
    ----------
    engine
        The database that keeps them.
    dimensions
        Numbers of a vector.
    document_bytes
        Bytes that a document takes in the file; the text fills what its vector does not.
    """

    def __init__(self, engine: Engine, *, dimensions: int, document_bytes: float = 0.0) -> None:
        self._engine = engine
        self._dimensions = dimensions
        self._text = "x" * max(0, round(document_bytes) - 4 * dimensions - ROW_OVERHEAD_BYTES)
        self._visible: Vectors = np.zeros((0, dimensions), dtype=np.float32)
        self._hidden: deque[tuple[float, Vectors]] = deque()
        engine.execute(TABLE)
        self._count = int(engine.execute("SELECT count(*) FROM documents").values[0][0])
        self._load()

    def __len__(self) -> int:
        """Return the number of vectors, visible or not."""
        return self._count

    @property
    def file_bytes(self) -> int:
        """The size of the database."""
        pages, size = (int(self._engine.execute(f"PRAGMA {what}").values[0][0]) for what in ("page_count", "page_size"))
        return pages * size

    def insert(self, vectors: Vectors, *, visible_at_ms: float) -> None:
        """Store *vectors*, shape (n, dimensions); queries from *visible_at_ms* on find them."""
        unit = _unit(vectors)
        with self._engine.transaction():
            for number, vector in enumerate(unit, start=self._count):
                self._engine.execute("INSERT INTO documents VALUES (?, ?, ?)", (number, self._text, vector.tobytes()))
        self._count += len(unit)
        self._hidden.append((visible_at_ms, unit))

    def nearest(self, query: Vectors, *, neighbours: int, now_ms: float) -> list[Match]:
        """Return the *neighbours* visible vectors nearest to *query*, shape (dimensions,), best first."""
        while self._hidden and self._hidden[0][0] <= now_ms:
            self._visible = np.concatenate([self._visible, self._hidden.popleft()[1]])
        scores = self._visible.astype(np.float64) @ _unit(query[None, :])[0].astype(np.float64)
        best = np.lexsort((np.arange(len(scores)), -scores))[:neighbours]
        return [Match(int(place), float(scores[place])) for place in best]

    def vector(self, number: int) -> Vectors:
        """Return a stored vector, shape (dimensions,)."""
        rows = self._engine.execute("SELECT vector FROM documents WHERE id = ?", (number,)).values
        return np.frombuffer(bytes(rows[0][0]), dtype=np.float32)

    def _load(self) -> None:
        rows: list[Any] = [row[0] for row in self._engine.execute("SELECT vector FROM documents ORDER BY id").values]
        if rows:
            self._visible = np.frombuffer(b"".join(bytes(row) for row in rows), dtype=np.float32).reshape(len(rows), -1)


def _unit(vectors: Vectors) -> Vectors:
    """Return each row with length 1; a row of zeros, which has no direction, stays."""
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    return (vectors / np.where(lengths > 0, lengths, 1.0)).astype(np.float32)


def vectors_of(numbers: Sequence[int], *, count: int, dimensions: int) -> Vectors:
    """Return *count* vectors that are always the same for the same *numbers*, shape (count, dimensions)."""
    return np.random.default_rng([*numbers, dimensions]).standard_normal((count, dimensions), dtype=np.float32)

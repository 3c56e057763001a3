"""Cursors over snapshots of b-trees: where a walked statement stands in a table, an index or a sorter."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from reference_impl.sqlite.row_count.values import KeyOrder, UnknownError, Value

Record = tuple[Value, ...]
Query = Callable[..., Sequence[Sequence[Any]]]
"""Runs a statement with parameters and returns all its rows."""


class Tree:
    """The entries of a b-tree in its order.

    Parameters
    ----------
    records
        Of a table its columns; of an index its key, then the rowid, if its table has one.
    rowids
        Of a table; None for an index.
    order
        Of an index.
    """

    def __init__(
        self,
        records: list[Record],
        rowids: list[int] | None = None,
        order: KeyOrder = KeyOrder(()),  # noqa: B008  # frozen
    ) -> None:
        self.is_table = rowids is not None
        self.order = order
        self._records = records
        self._rowids = rowids

    @property
    def records(self) -> list[Record]:
        """All entries."""
        return self._records

    @property
    def rowids(self) -> list[int]:
        """The numbers of all rows; only of a table."""
        assert self._rowids is not None, "an index has no row numbers of its own"
        return self._rowids

    def place(self, key: Sequence[Value], *, after: bool) -> int:
        """Return the place of the first entry at *key*, or *after* all that equal it."""
        records = self.records
        low, high = 0, len(records)
        while low < high:
            middle = (low + high) // 2
            entry = (self.rowids[middle],) if self.is_table else records[middle]
            order = self.order.compared(entry, key)
            low, high = (middle + 1, high) if order < 0 or (after and order == 0) else (low, middle)
        return low

    def find(self, key: Sequence[Value]) -> Record | None:
        """Return the first entry that begins with *key*, or of a table the row of that number."""
        place = self.place(key, after=False)
        return self.records[place] if place < self.place(key, after=True) else None

    def last_rowid(self) -> int:
        """Return the greatest number of a row (0: none)."""
        return self.rowids[-1] if self.rowids else 0


class StoredTree(Tree):
    """A b-tree of the database: read whole when a statement goes through it, not for single look-ups.

    Parameters
    ----------
    query
        Runs SQL.
    columns, source
        What is selected, and from where (a table, and the condition of a partial index).
    keys
        Expressions of its order, with their collations and directions.
    order
        Of an index; None for a table, whose only key is the number of the row.
    """

    def __init__(
        self, query: Query, columns: Sequence[str], *, source: str, keys: Sequence[str], order: KeyOrder | None
    ) -> None:
        super().__init__([], [] if order is None else None, order or KeyOrder(()))
        self._query = query
        self._select = f"SELECT {', '.join(columns)} FROM {source} "  # noqa: S608  # names of the schema
        self._keys = keys
        self._by = f"ORDER BY {', '.join(keys)}"
        self._joins = "AND" if " WHERE " in source else "WHERE"
        self._is_read = False

    @property
    def records(self) -> list[Record]:
        """All entries."""
        self._read()
        return self._records

    @property
    def rowids(self) -> list[int]:
        """The numbers of all rows; only of a table."""
        self._read()
        return super().rowids

    def find(self, key: Sequence[Value]) -> Record | None:
        """Return the first entry that begins with *key*, or of a table the row of that number."""
        if self._is_read:
            return super().find(key)
        plain = [expression.rpartition(" ")[0] for expression in self._keys[: len(key)]]
        terms = " AND ".join(f"{expression} IS ?" for expression in plain)
        rows = self._query(f"{self._select} {self._joins} {terms} {self._by} LIMIT 1", *key)
        if not rows:
            return None
        return tuple(rows[0][1:]) if self.is_table else tuple(rows[0])

    def last_rowid(self) -> int:
        """Return the greatest number of a row (0: none)."""
        if self._is_read:
            return super().last_rowid()
        rows = self._query(f"{self._select} ORDER BY {self._keys[0].rpartition(' ')[0]} DESC LIMIT 1")
        return int(rows[0][0]) if rows else 0

    def forget(self) -> None:
        """Forget the entries: they may have changed."""
        self._is_read = False

    def _read(self) -> None:
        if self._is_read:
            return
        self._is_read = True
        rows = self._query(f"{self._select} {self._by}")
        if self.is_table:
            self._rowids = [row[0] for row in rows]
            self._records = [tuple(row[1:]) for row in rows]
        else:
            self._records = [tuple(row) for row in rows]


@dataclass
class Cursor:
    """A place in a tree; *is_ephemeral* if the statement made the tree for itself."""

    tree: Tree
    is_ephemeral: bool = False
    seeks_equal: bool = False
    is_null: bool = False
    next_number: int = 0
    place_index: int = -1
    found: tuple[Record, Sequence[Value]] | None = None
    """The entry of a look-up with its key, as long as nobody asks for its place."""

    @property
    def is_in(self) -> bool:
        """Whether it stands on an entry."""
        return not self.is_null and (self.found is not None or 0 <= self.place_index < len(self.tree.records))

    @property
    def record(self) -> Record:
        """The entry that it stands on."""
        if not self.is_in:
            return ()
        return self.found[0] if self.found is not None else self.tree.records[self.place_index]

    @property
    def entry(self) -> Sequence[Value]:
        """What tells its entry from all others of the tree: the number of a row, the whole record of an index."""
        return (self.rowid,) if self.tree.is_table else self.record

    @property
    def rowid(self) -> Value:
        """The number of its row, NULL if it stands on none."""
        if not self.is_in:
            return None
        if not self.tree.is_table:
            return self.record[-1]
        return self.found[1][0] if self.found is not None else self.tree.rowids[self.place_index]

    def go(self, at: int) -> bool:
        """Move; return whether an entry is there."""
        self.place_index, self.found, self.is_null = at, None, False
        return self.is_in

    def step(self, by: int) -> bool:
        """Move by some entries; return whether an entry is there."""
        if self.is_null:
            return False
        if self.found is not None:
            record, key = self.found
            self.place_index = self.tree.place(key if self.tree.is_table else record, after=False)
        return self.go(self.place_index + by)

    def look_up(self, key: Sequence[Value]) -> bool:
        """Move to the first entry that begins with *key*; return whether there is one."""
        record = self.tree.find(key)
        if record is None:
            return self.go(-1)
        self.found, self.is_null = (record, key), False
        return True

    def insert(self, record: Record, rowid: int | None = None) -> None:
        """Add an entry to a tree of the statement's own, in its place."""
        tree = self.tree
        if rowid is None:
            tree.records.insert(tree.place(record, after=True), record)
            return
        place = tree.place((rowid,), after=False)
        tree.rowids.insert(place, rowid)
        tree.records.insert(place, record)

    def delete(self) -> None:
        """Remove the entry that it stands on; the next one follows."""
        del self.tree.records[self.place_index]
        if self.tree.is_table:
            del self.tree.rowids[self.place_index]
        self.place_index -= 1


class Snapshots:
    """The b-trees of a database, each read when it is first asked for.

    Parameters
    ----------
    query
        Runs SQL on the database.
    """

    def __init__(self, query: Query) -> None:
        self._query = query
        self._trees: dict[int, StoredTree] = {}
        schema = query("SELECT rootpage, type, name, tbl_name, sql FROM sqlite_schema")
        self._names = {root: tuple(names) for root, *names in schema}
        self._names[1] = ("table", "sqlite_schema", "sqlite_schema", None)

    def forget(self) -> None:
        """Forget the entries of all trees."""
        for tree in self._trees.values():
            tree.forget()

    def tree(self, root: int) -> StoredTree:
        """Return the b-tree at the page *root*.

        Raises
        ------
        UnknownError
            If its entries cannot be derived from SQL: an index on an expression, a generated column.
        """
        if root not in self._trees:
            if root not in self._names:
                raise UnknownError(f"b-tree {root}")
            kind, name, table, sql = self._names[root]
            self._trees[root] = self._index(name, table, sql) if kind == "index" else self._table(name)
        return self._trees[root]

    def _table(self, name: str) -> StoredTree:
        columns = self._query("SELECT name, hidden FROM pragma_table_xinfo(?)", name)
        if any(hidden for _, hidden in columns):
            raise UnknownError(f"hidden columns of {name}")
        if self._query("SELECT 1 FROM pragma_table_list WHERE schema = 'main' AND name = ? AND wr", name):
            key = self._query("SELECT name FROM pragma_index_list(?) WHERE origin = 'pk'", name)[0][0]
            return self._index(key, name, "")
        taken = {column.lower() for column, _ in columns}
        rowid = next((word for word in ("rowid", "_rowid_", "oid") if word not in taken), None)
        if rowid is None:
            raise UnknownError(f"rowid of {name}")
        return StoredTree(self._query, (rowid, "*"), source=quoted(name), keys=(f"{rowid} ASC",), order=None)

    def _index(self, name: str, table: str, sql: str | None) -> StoredTree:
        parts = self._query('SELECT name, cid, "desc", coll, "key" FROM pragma_index_xinfo(?) ORDER BY seqno', name)
        if any(cid == -2 for _, cid, *_ in parts):  # SQLite's number of an expression
            raise UnknownError(f"index {name} on an expression")
        names = ["rowid" if cid == -1 else quoted(column) for column, cid, *_ in parts]
        fields = [(coll.upper(), bool(descends)) for _, _, descends, coll, _ in parts]
        keys = [
            f"{column} COLLATE {coll} {'DESC' if descends else 'ASC'}"
            for column, (coll, descends) in zip(names, fields, strict=True)
        ]
        _, _, condition = (sql or "").replace("\n", " ").partition(" WHERE ")
        source = f"{quoted(table)} WHERE ({condition})" if condition else quoted(table)
        return StoredTree(self._query, names, source=source, keys=keys, order=KeyOrder(fields))


def quoted(name: str) -> str:
    """Return a name of the schema as SQL takes it."""
    return '"' + name.replace('"', '""') + '"'

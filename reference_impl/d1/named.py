"""The statements that routes name, executed on the tables of their schema.

Before anything is asked, the migrations are applied, the tables that statements touch are filled to the sizes that the
deployment file names, and each statement is tried once and undone. Then each call binds parameters that follow from the
seed and the request's key, and what it reads and writes is counted for its step.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from reference_impl.d1.database import D1Error, D1Result, Statement
from reference_impl.d1.filling import Filler
from reference_impl.d1.migrations import migrate
from reference_impl.d1.schema import read_tables
from reference_impl.d1.settings import D1Settings
from reference_impl.d1.statements import Named, Reading, read_statement
from reference_impl.errors import ConfigError, ImplError, LimitError
from reference_impl.parts import Call
from reference_impl.sqlite.engines import Engine
from reference_impl.timing.addressed import key_of, unit

SQL_CHARACTERS_SHOWN = 100
PICKS = 1 << 40


class _UndoneError(ImplError):
    """Ends a transaction whose effect is not wanted."""


@dataclass
class Counted:
    """What the calls of one step read and wrote."""

    calls: int = 0
    rows_read: int = 0
    rows_written: int = 0


class NamedStatements:
    """The named statements of one database.

    Parameters
    ----------
    engine
        Of the database.
    settings
        Its schema, the sizes of its tables, and the seed of parameters.
    name
        Name of the instance.
    counts_rows
        Whether rows are counted, by walking each statement.
    copies
        Of the replicas, which begin with the same rows.
    """

    def __init__(
        self, engine: Engine, settings: D1Settings, *, name: str, counts_rows: bool, copies: Sequence[Engine] = ()
    ) -> None:
        self.engine = engine
        self._copies = copies
        self._settings = settings
        self._counts_rows = counts_rows
        self._key = key_of(settings.seed, f"{name}.parameters")
        self._where: dict[Named, str] = {}
        self._readings: dict[Named, Reading] = {}
        self._filler: Filler | None = None
        self._errors: tuple[type[Exception], ...] = (D1Error, LimitError, *engine.errors)
        self.counted: dict[tuple[str, int], Counted] = {}
        """By route and index of the step."""

    def add(self, named: Named, where: str) -> None:
        """Note a statement, and where it stands for messages."""
        self._where.setdefault(named, where)

    def start(self) -> None:
        """Make the tables, fill them, and try each statement.

        Raises
        ------
        ConfigError
            A migration or a statement does not fit, or a table cannot be filled.
        """
        migrate(self.engine, self._settings.schema)
        tables = read_tables(self.engine)
        columns = {name: list(table.columns) for name, table in tables.items()}
        for named, where in self._where.items():
            try:
                Statement(named.sql).check()
                self._readings[named] = read_statement(self.engine, named.sql, columns=columns)
            except self._errors as error:
                raise _refusal(named, where, error) from None
        self._filler = Filler(tables, self._settings.rows, list(self._readings.items()))
        for copy in self._copies:
            migrate(copy, self._settings.schema)
        for engine in (self.engine, *self._copies):
            engine.count_rows(counts=False)  # Nobody pays for rows that were there before.
            self._filler.fill(engine)
            engine.count_rows(counts=self._counts_rows)
        for named, where in self._where.items():
            self._try(named, where)

    def _try(self, named: Named, where: str) -> None:
        statement = self.bound(named, key=0)
        try:
            statement.check()
            with self.engine.transaction():
                self.engine.execute(statement.sql, statement.params)
                raise _UndoneError
        except _UndoneError:
            pass
        except self._errors as error:
            raise _refusal(named, where, error) from None

    def bound(self, named: Named, *, key: int) -> Statement:
        """Return a statement with the parameters of a request's key."""
        assert self._filler is not None, "statements are bound after start"
        pick = int(unit(self._key, key) * PICKS)
        return Statement(named.sql, self._filler.params(named, self._readings[named], pick=pick))

    def count(self, call: Call, result: D1Result) -> None:
        """Count what a call of a step read and wrote."""
        found = self.counted.setdefault((call.route, call.step_index), Counted())
        found.calls += 1
        found.rows_read += result.meta["rows_read"]
        found.rows_written += result.meta["rows_written"]


def _refusal(named: Named, where: str, error: Exception) -> ConfigError:
    text = " ".join(named.sql.split())[:SQL_CHARACTERS_SHOWN]
    return ConfigError(f"{where}: sql={text!r} cannot be executed: {error}; see the schema of its database")

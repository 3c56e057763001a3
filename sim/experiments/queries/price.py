"""What rows cost, and how many such statements one database answers.

Sources
-------
D1 pricing: a million rows read, a million rows written, beyond what the Paid plan includes. Time: the scenario's
distribution of a query of few rows, and the rate of a full scan that was measured on one machine
(``d1.performance.scan_rows_per_second_measured``); one database answers one query at a time (hazard H18).
"""

from dataclasses import dataclass

from sim.models.billing import SECONDS_PER_MONTH
from sim.scenario.scenario import Scenario

MILLION = 1_000_000


@dataclass(frozen=True)
class Prices:
    """Prices and times.

    Attributes
    ----------
    read_usd, written_usd : float
        Of a million rows.
    included_rows_read, included_rows_written : int
        Rows of a month that the Paid plan includes, for the whole account.
    read_ms, write_ms : float
        Mean time of a statement of few rows.
    scan_rows_per_s : float
    """

    read_usd: float
    written_usd: float
    included_rows_read: int
    included_rows_written: int
    read_ms: float
    write_ms: float
    scan_rows_per_s: float

    @classmethod
    def of(cls, scenario: Scenario, database: str = "d1") -> "Prices":
        """Read the prices and times of a scenario's database."""

        def fact(name: str) -> float:
            return float(scenario.facts.fact(f"d1.{name}").value)

        table = scenario.system.instances[database].table
        return cls(
            read_usd=fact("pricing.rows_read_overage_per_million"),
            written_usd=fact("pricing.rows_written_overage_per_million"),
            included_rows_read=int(fact("pricing.rows_read_included_month")),
            included_rows_written=int(fact("pricing.rows_written_included_month")),
            read_ms=float(table.read_ms.expected()),
            write_ms=float(table.write_ms.expected()),
            scan_rows_per_s=fact("performance.scan_rows_per_second_measured"),
        )

    def usd_per_month(self, rows_read: float, rows_written: float, *, rate_per_s: float) -> float:
        """Return what a month of such statements costs beyond what is included."""
        executions = rate_per_s * SECONDS_PER_MONTH
        return executions * (rows_read * self.read_usd + rows_written * self.written_usd) / MILLION

    def queries_per_s(self, rows_read: float, rows_written: float) -> float:
        """Return the statements a second at which one database is busy all the time."""
        service_ms = (self.write_ms if rows_written else self.read_ms) + 1_000 * rows_read / self.scan_rows_per_s
        return 1_000 / service_ms

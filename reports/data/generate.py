"""Write the daily counts of an invented service: 26 weeks that grow by a twentieth a month, quieter at weekends.

    python reports/data/generate.py

The same seed gives the same bytes. Nothing in it was measured.
"""

from datetime import date, timedelta
from pathlib import Path

import numpy as np

SEED = 20261125
FIRST, DAYS = date(2026, 5, 27), 182
LAST_DAY_MEAN = 10_000_000
GROWTH_PER_MONTH = 0.05
WEEKDAYS = (1.05, 1.08, 1.08, 1.06, 1.0, 0.86, 0.87)
NOISE = 0.05


def main() -> None:
    """Write the history beside this file."""
    rng = np.random.default_rng(SEED)
    lines = ["date,count"]
    for number in range(DAYS):
        day = FIRST + timedelta(days=number)
        trend = LAST_DAY_MEAN * (1 + GROWTH_PER_MONTH) ** ((number - DAYS + 1) / 30)
        count = trend * WEEKDAYS[day.weekday()] * rng.lognormal(0.0, NOISE)
        lines.append(f"{day},{count:.0f}")
    Path(__file__).with_name("daily_requests.csv").write_text("\n".join(lines) + "\n", "utf-8")


if __name__ == "__main__":
    main()

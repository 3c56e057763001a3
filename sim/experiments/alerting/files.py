"""The files of a scenario's alerts: rules for Prometheus, and replayed incidents that ``promtool test rules`` runs."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sim.experiments.alerting.backtest import replayed
from sim.experiments.alerting.traffic import Scraped, during, quiet
from sim.foundation.errors import UsageError
from sim.foundation.files import whole_file
from sim.judgement.alerts.rule_file import rule_file
from sim.judgement.alerts.rule_tests import rule_tests

if TYPE_CHECKING:
    from sim.experiments.alerting.alerts import Alerts

RULES = "rules.yml"
RUNBOOKS = "docs/runbooks"

EXAMPLES = 3
"""Incidents that become test files: those that should make the most alerts fire."""

EXAMPLE_BEFORE_MINUTES = 360
"""Quiet before each: with the three days of the backtest promtool would take a quarter of a minute a file."""


def write_alerts(found: "Alerts", folder: str | Path, *, runbooks: str = RUNBOOKS) -> list[Path]:
    """Write the rule file and its tests.

    Parameters
    ----------
    found : Alerts
    folder : path
        Made if it does not exist; files of the same names are replaced.
    runbooks : str
        The folder or the address that the alerts' links begin with.

    Returns
    -------
    list of Path
        The rules first.

    Raises
    ------
    UsageError
        The folder cannot be written.
    """
    place = alerts_folder(folder)
    texts = {RULES: rule_file(found.rules, runbooks=runbooks)}
    for name, scraped in _examples(found).items():
        texts[f"{name}_test.yml"] = rule_tests(
            found.rules, scraped.samples, firing=replayed(found.rules, scraped),
            name=name, rules_file=RULES, runbooks=runbooks,
        )  # fmt: skip
    for file, text in texts.items():
        with whole_file(place / file) as out:
            out.write(text.encode())
    return [place / file for file in texts]


def alerts_folder(folder: str | Path) -> Path:
    """Make the folder, before the work whose result it is for.

    Raises
    ------
    UsageError
        It cannot be made or written.
    """
    place = Path(folder)
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"out={str(folder)!r} must be a folder that can be written: {error.strerror}") from None
    if not os.access(place, os.W_OK):
        raise UsageError(f"out={str(folder)!r} must be a folder that can be written: permission denied")
    return place


def _examples(found: "Alerts") -> dict[str, Scraped]:
    """The incidents to be written, and an hour of quiet."""
    rng = np.random.default_rng(found.seed)
    telling = sorted(found.backtest.trials, key=lambda trial: -len(trial.due))[:EXAMPLES]
    made = {
        f"incident_{number}": during(
            trial.incident, found.rules.objectives, wave=found.wave, rng=rng, before_minutes=EXAMPLE_BEFORE_MINUTES
        )
        for number, trial in enumerate(telling, 1)
    }
    return {**made, "quiet": quiet(found.rules.objectives, found.wave, minutes=60, rng=rng)}

"""The measured tables of the README, written from what was measured: ``python -m tests.project.readme``.

Each table stands between two comments that name it. The test in ``test_readme.py`` makes them anew and compares.
"""

from collections.abc import Callable
from functools import cache

from sim.experiments.plan import WINDOW_REPLICATIONS
from sim.judgement.comparison import Comparison, compare
from sim.report.wording import error_span, percent, significant, target_name
from sim.results.storage import load_run
from sim.runners.play import play
from sim.scenario.generation import schedule
from sim.scenario.scenario import load_scenario
from tests.evidence.fidelity import by_date
from tests.evidence.fidelity_recording import load_scorings
from tests.evidence.fidelity_workerd_text import goals
from tests.project.tidy import ROOT

README = ROOT / "README.md"
SPEED = ROOT / "docs/SPEED.md"
BASELINE = ROOT / "reports/baselines/launch_reference.parquet"


@cache
def recorded_comparison() -> Comparison:
    """The recorded run of the reference, and the model on the same requests."""
    launch = load_scenario("launch")
    part = schedule(launch).live(launch.workload.live_s, launch.workload.live_rate_max_per_s)
    seeds = range(launch.seed, launch.seed + WINDOW_REPLICATIONS)
    return compare([play(launch, part, on="compiled", seed=seed) for seed in seeds], load_run(BASELINE))


def fidelity() -> str:
    """The model's error against the recorded run."""
    lines = [
        "| metric | simulated | measured | n | error, joint 95 % interval | verdict |",
        "| --- | ---: | ---: | ---: | ---: | --- |",
    ]
    for row in recorded_comparison().rows:
        if row.route != "all" or row.measured.n < 100:
            continue
        error = f"{percent(row.relative_error, signed=True)} [{error_span(row.low, row.high)}]"
        unit = row.metric.rsplit("_", 1)[1]
        numbers = [f"{significant(side.value)} {unit}" for side in (row.simulated, row.measured)]
        name = target_name(row.metric, row.statistic)
        verdict = f"{row.verdict}: {row.reason}" if row.reason else str(row.verdict)
        lines.append(f"| {name} | {' | '.join(numbers)} | {row.measured.n:,} | {error} | {verdict} |")
    return "\n".join(lines)


def speed() -> str:
    """Requests a CPU-second over those of SimPy by hand, from the page that ``make bench`` writes."""
    ratios: dict[str, dict[str, str]] = {}
    for line in SPEED.read_text("utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        job, colon, contender = cells[0].partition(": ")
        if colon and len(cells) > 2 and job != "first call ever" and job != "later processes":
            ratios.setdefault(job, {})[contender] = cells[2].split(" ")[0]
    contenders = ("salabim", "Ciw", "DSSim", "cimba", "our SimPy engine", "our compiled engine")
    lines = ["| times SimPy by hand | " + " | ".join(contenders) + " |", "| --- " + "| ---: " * len(contenders) + "|"]
    for job, found in ratios.items():
        if "our compiled engine" in found:
            lines.append(f"| {job} | " + " | ".join(found.get(name, "") for name in contenders) + " |")
    return "\n".join(lines)


def runtime() -> str:
    """What was promised of predictions of the real runtime, and what was found."""
    return goals(by_date(load_scorings()))


TABLES: dict[str, Callable[[], str]] = {"runtime": runtime, "fidelity": fidelity, "speed": speed}
"""How each table is made."""


def written(text: str) -> str:
    """*text* with every table made anew."""
    for name, make in TABLES.items():
        begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
        before, _, rest = text.partition(begin)
        _, found, after = rest.partition(end)
        assert found, f"README.md has no place for the table {name}"
        text = f"{before}{begin}\n{make()}\n{end}{after}"
    return text


if __name__ == "__main__":
    README.write_text(written(README.read_text("utf-8")), "utf-8")

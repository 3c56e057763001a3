"""The tables of ``docs/FIDELITY.md`` about the real runtime; ``python -m`` with this module measures them alone."""

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np

from tests.evidence.fidelity_workerd import LOADS, QQ, STATISTICS, Score, Scores, workerd_calibrated


def text(found: Scores) -> str:
    """Return the tables of a scoring, as a page has them."""
    covered, intervals = found.coverage()
    late = sum(one.late_runs for one in found.scores if one.load < 1)
    lines = [
        "## The real runtime, calibrated at a quarter of its capacity",
        "",
        _calibration(found),
        "",
        _saturation(found),
        "",
        "| load | requests/s | statistic | predicted [90 %] | measured: median (least to most) | error | runs within |",
        "| --- | ---: | --- | ---: | ---: | ---: | ---: |",
        *(line for one in found.scores if one.load < 1 for line in _rows(one)),
        "",
        f"The predicted intervals of the loads that were held out hold {covered} of {intervals} measured values.",
        "",
        f"Runs below saturation that did not pass the driver's own check: {late}.",
        "",
        "No number was fitted to the loads that were held out, but how it is measured was chosen after trials that had",
        "seen them: real-time scheduling, state in memory, and which stalls count as flushes.",
        "",
        "| Q-Q, ms | " + " | ".join(f"P{100 * q:g}" for q in QQ) + " |",
        "| --- |" + " ---: |" * len(QQ),
        *(line for one in found.scores if one.load < 1 for line in _quantiles(one)),
    ]
    return "\n".join(lines) + "\n"


def _calibration(found: Scores) -> str:
    service = found.service_mean_ms
    return (
        f"Calibrated at {found.rate_per_s:,.0f} requests/s: service {service.value:.3f} ms [{service.low:.3f}, "
        f"{service.high:.3f}], squared coefficient of variation {found.service_cv2:.2f}; delay P50 "
        f"{found.delay_ms_p50:.2f} ms, where the driver against a trivial route takes {found.floor_ms['p50']:.2f} ms "
        f"(P99 {found.floor_ms['p99']:.2g}); {found.stalls_per_s:.1f} stalls a second (P90 {found.stall_ms_p90:.0f} "
        f"ms); flush {found.flush_row_us:.2g} us a row."
    )


def _saturation(found: Scores) -> str:
    most, measured = found.capacity_per_s, float(np.median(found.saturation_per_s))
    return (
        f"Throughput at saturation, offered {LOADS[-1]:.0%} of the prediction: predicted {most.value:,.0f}/s "
        f"[{most.low:,.0f}, {most.high:,.0f}], measured {measured:,.0f}/s: {most.value / measured - 1:+.0%}."
    )


def _rows(one: Score) -> Iterator[str]:
    for name in (*STATISTICS, "utilization"):
        number, seen, held = one.predicted[name], one.measured[name], one.covered(name)
        said, unit = (name, "") if name == "utilization" else (name.upper(), " ms")
        yield (
            f"| {one.load:.0%} | {one.rate_per_s:,.0f} | {said} | {number.value:.3g} [{number.low:.3g}, "
            f"{number.high:.3g}]{unit} | {np.median(seen):.3g} ({min(seen):.3g} to {max(seen):.3g}){unit} | "
            f"{one.error(name):+.0%} | {sum(held)} of {len(held)} |"
        )


def _quantiles(one: Score) -> Iterator[str]:
    for side, values in (("predicted", one.qq_predicted_ms), ("measured", one.qq_measured_ms)):
        yield f"| {one.load:.0%} {side} | " + " | ".join(f"{value:.3g}" for value in values) + " |"


def main() -> None:
    """Measure, and print the text; keep the numbers as JSON if asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--quick", action="store_true", help="One run of each load.")
    asked = parser.parse_args()
    found = workerd_calibrated(repeats=1, replications=8) if asked.quick else workerd_calibrated()
    if asked.json is not None:
        asked.json.write_text(json.dumps(asdict(found), indent=1) + "\n")
    print(text(found))


if __name__ == "__main__":
    main()

"""Record the runs of notebooks/02_measure_and_calibrate.ipynb.

    python -m tests.evidence.measured_deployment

The deployment is the reference on this machine, paced by the numbers of ``deployed.toml``, which ``profile.toml`` does
not have. Four runs over loopback, some three and a half minutes, at most 45 requests a second: a quarter of capacity,
to calibrate on; three quarters, to be predicted; both also become the log of a client that keeps nothing but times; and
two in which the deployment stands still for two seconds, loaded by an open loop and by a closed one.

The requests are those of the seed; what was measured is of the machine and of the day. Driver and deployment run before
ordinary processes where that is permitted: they take a few per cent of a core, and what others do is not measured.
"""

import csv
import gzip
import io
import os
import signal
import threading
import time
from contextlib import suppress
from typing import Any

from sim import Result, load_scenario, save_run, schedule
from sim.runners import live, reference
from tests.project.tidy import ROOT

HERE = ROOT / "notebooks/data/measured_deployment"
LOW_PER_S, LOW_S, LOW_SEED = 15.0, 120.0, 1
HIGH_PER_S, HIGH_S, HIGH_SEED = 45.0, 40.0, 2
STALLED_PER_S, STALLED_S, STALLED_SEED = 15.0, 20.0, 3
STALL_AT_S, STALL_S = 8.0, 2.0
CLOSED = {
    "arrivals": {"kind": "closed", "users": 2, "think_ms": {"distribution": "exponential", "mean": 80.0}},
    "requests": 300,
    "duration_s": None,
}
"""Two users that send some 15 requests a second between them, as the open loop does."""


def played(workload: dict[str, Any], seed: int, *, stalls: bool = False) -> Result:
    """Play the requests of ``profile.toml`` on the deployment."""
    ours = load_scenario(HERE / "profile.toml")
    asked = ours.with_(**{f"workload.{key}": value for key, value in workload.items()})
    with reference.running(load_scenario(HERE / "deployed.toml"), seed=seed) as deployment:
        if stalls:
            threading.Thread(target=stand_still, args=(deployment.process.pid,), daemon=True).start()
        return live.play(asked, schedule(asked, seed), seed=seed, url=deployment.deployment.http, on="reference")


def poisson(rate_per_s: float, duration_s: float) -> dict[str, Any]:
    """Return an open loop."""
    return {"arrivals": {"kind": "poisson", "rate_per_s": rate_per_s}, "duration_s": duration_s}


def stand_still(process_group: int) -> None:
    """Stop the deployment's processes for a while."""
    time.sleep(STALL_AT_S)
    os.killpg(process_group, signal.SIGSTOP)
    try:
        time.sleep(STALL_S)
    finally:
        os.killpg(process_group, signal.SIGCONT)


def as_log(result: Result) -> bytes:
    """Return times of sending and latencies as a client's log, compressed."""
    frame = result.frame
    sent_ms = (frame["arrival_ms"] + frame["send_lag_ms"]).round(3)
    paths = [f"/profile/{key}" for key in frame["key"]]
    columns = (sent_ms, ["GET"] * len(frame), paths, frame["service_latency_ms"].round(3))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("arrival_ms", "method", "path", "latency_ms"))
    writer.writerows(zip(*columns, strict=True))
    return gzip.compress(text.getvalue().encode(), mtime=0)


def main() -> None:
    """Record all of them beside the notebook."""
    with suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    loads = {"low": (LOW_PER_S, LOW_S, LOW_SEED), "high": (HIGH_PER_S, HIGH_S, HIGH_SEED)}
    for name, (rate_per_s, duration_s, seed) in loads.items():
        result = played(poisson(rate_per_s, duration_s), seed)
        save_run(result, HERE / f"{name}.parquet")
        (HERE / f"{name}.csv.gz").write_bytes(as_log(result))
    for name, workload in {"open": poisson(STALLED_PER_S, STALLED_S), "closed": CLOSED}.items():
        save_run(played(workload, STALLED_SEED, stalls=True), HERE / f"stalled_{name}.parquet")


if __name__ == "__main__":
    main()

"""Write the log of an invented deployment, as Cloudflare Logpush would.

    python notebooks/data/your_deployment/generate.py

A day of 3 million requests with a peak of four times the mean, of which Logpush samples one in a thousand; the same
seed gives the same bytes. Nothing in it was measured.
"""

import csv
import gzip
import io
from pathlib import Path

import numpy as np

SEED = 20261125
REQUESTS = 3_000
START_NS = 1_795_478_400 * 10**9
"""24 November 2026, 00:00 UTC."""

DAY_NS = 86_400 * 10**9
PEAK_H, PEAK_FACTOR, PEAK_WIDTH_H = 19.0, 4.0, 2.2
ROUTES = {"feed": 0.62, "post": 0.06, "image": 0.27, "room": 0.02, "scan": 0.03}
USERS, IMAGES, ROOMS = 4_000, 900, 60

COLUMNS = (
    "EdgeStartTimestamp",
    "ClientRequestMethod",
    "ClientRequestURI",
    "EdgeResponseStatus",
    "EdgeResponseBytes",
    "ClientRequestBytes",
    "EdgeTimeToFirstByteMs",
    "ClientCountry",
)


def start_times_ns(rng: np.random.Generator) -> np.ndarray:
    """Draw times of a day whose rate rises to PEAK_FACTOR times the mean in the evening, sorted, shape (requests,)."""
    hours = (np.arange(1440) + 0.5) / 60
    wave = np.exp(-0.5 * ((hours - PEAK_H) / PEAK_WIDTH_H) ** 2)
    # A level below the wave such that the highest rate is the wished multiple of the mean.
    level = (1 - PEAK_FACTOR * wave.mean()) / (PEAK_FACTOR - 1)
    rate = wave + max(level, 0.0)
    minute = rng.choice(1440, REQUESTS, p=rate / rate.sum())
    return np.sort(START_NS + ((minute + rng.random(REQUESTS)) / 1440 * DAY_NS).astype(np.int64))


def ranked(rng: np.random.Generator, count: int, exponent: float) -> int:
    """Draw a rank, popular ones more often."""
    weights = np.arange(1, count + 1) ** -exponent
    return int(rng.choice(count, p=weights / weights.sum()))


def row(rng: np.random.Generator, time_ns: int, route: str) -> tuple[object, ...]:
    """One line of the log."""
    waited_ms = int(rng.lognormal(3.2, 0.6)) + 4
    if route == "feed":
        uri, size = (
            f"/feed?user=u{ranked(rng, USERS, 0.8)}&session={rng.integers(2**31):x}",
            int(rng.lognormal(9.5, 0.4)),
        )
        return time_ns, "GET", uri, 200, size, 420, waited_ms, "DE"
    if route == "post":
        return time_ns, "POST", "/post", 201, 180, int(rng.lognormal(7.5, 0.8)), waited_ms + 30, "DE"
    if route == "image":
        uri = f"/img/{(ranked(rng, IMAGES, 0.9) + 1) * 0x9E3779B1 % 2**32:08x}.jpg"
        return time_ns, "GET", uri, 200, int(rng.lognormal(14.3, 0.5)), 380, waited_ms + 20, "DE"
    if route == "room":
        return time_ns, "GET", f"/room/{ranked(rng, ROOMS, 1.0) + 1}/ws", 101, 0, 500, waited_ms, "DE"
    word = rng.choice(["wp-login.php", ".env", "admin.php", "xmlrpc.php"])
    return time_ns, "GET", f"/{word}", 404, 150, 200, waited_ms, "XX"


def main() -> None:
    """Write the log beside this file."""
    rng = np.random.default_rng(SEED)
    times = start_times_ns(rng)
    routes = rng.choice(list(ROUTES), REQUESTS, p=list(ROUTES.values()))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(row(rng, int(time_ns), str(route)) for time_ns, route in zip(times, routes, strict=True))
    Path(__file__).with_name("requests.csv.gz").write_bytes(gzip.compress(text.getvalue().encode(), mtime=0))


if __name__ == "__main__":
    main()

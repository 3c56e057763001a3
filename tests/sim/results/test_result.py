"""The summary of a run.

Goal: it says what was played, in which time. Method: runs of shipped scenarios.
"""

from sim import load_scenario, run


def test_closed_loop_ends_with_its_last_answer() -> None:
    """5,000 requests of 60 users who do not think take some five seconds, whatever flushes ten seconds later."""
    result = run(load_scenario("shapes/closed").vary("workload.arrivals.think_ms", 0))
    answered_s = (result.frame["arrival_ms"] + result.frame["latency_ms"]).max() / 1000
    assert result.duration_s > answered_s + 5
    assert f"5000 requests in {answered_s:.1f} s" in repr(result)

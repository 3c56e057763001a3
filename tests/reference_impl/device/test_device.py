"""Disks of devices: what fits, what does not, and what makes room.

Goal: no sequence of files ever exceeds a disk, and a file is refused only if it would. Method: sequences drawn by
Hypothesis against a list of sizes; routes under a virtual clock.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference_impl.device.disk import DiskFullError, Disks, DiskSettings
from reference_impl.tables import Table
from reference_impl.timing.clock import VirtualClock
from reference_impl.timing.stopwatch import Stopwatch
from tests.support.routed import request, route, routed


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 1), st.integers(1, 60)), max_size=40))
def test_a_disk_is_never_exceeded_and_refuses_only_what_does_not_fit(steps: list[tuple[bool, int, int]]) -> None:
    table = Table("system.device", {"disk_bytes": 100, "write_bytes_per_s": 1e3, "file_ms": 2})
    clock, disks = VirtualClock(), Disks(DiskSettings.read(table))
    files: dict[int, list[int]] = {0: [], 1: []}
    for stores, key, size in steps:
        if stores and sum(files[key]) + size <= 100:
            clock.run(disks.store(key, Stopwatch(clock), file_bytes=size))
            files[key].append(size)
        elif stores:
            with pytest.raises(DiskFullError, match=rf"a file of {size} bytes; .* has {100 - sum(files[key])} left"):
                clock.run(disks.store(key, Stopwatch(clock), file_bytes=size))
        elif size in files[key]:
            clock.run(disks.remove(key, Stopwatch(clock), file_bytes=size))
            files[key].remove(size)
    assert [disks.used_bytes[key] for key in (0, 1)] == [sum(files[0]), sum(files[1])]


def test_two_files_at_a_time_cannot_both_take_the_last_room() -> None:
    table = {"disk_bytes": 100, "write_bytes_per_s": 10}
    steps = {"one": route({"use": "device.store", "parameters": {"file_bytes": 60}})}
    with routed(steps, {"network": {}, "device": table}) as w:
        watches = [w.deployment.stopwatch() for _ in range(2)]
        answers = w.clock.run(*(w.deployment.serve_http(request(key=1), watch) for watch in watches))
    assert sorted(answer.status for answer in answers) == [200, 413]
    assert max(watch.spent_ms.get("device", 0.0) for watch in watches) == 6_000

"""Limits of bodies, parts of uploads, writes of one key and silent tunnels: the reference does what the models say.

Goal: the same bytes and the same moments as in ``tests/sim/hazards/test_sizes_and_silence.py`` (H28 to H31, H36, H37,
H39, H45). Method: routes of one step on a deployment in memory, and a tunnel's streams under a virtual clock.
"""

from typing import Any

import pytest

from reference_impl.errors import ConfigError
from reference_impl.messages import Response
from reference_impl.r2.settings import R2Settings
from reference_impl.timing.clock import VirtualClock
from reference_impl.timing.stopwatch import HeadStart, Stopwatch
from reference_impl.tunnel.streams import Streams, TunnelSettings
from tests.support.routed import SYSTEM, ask, objects, route, routed
from tests.support.world import settings

LIMIT, MEMORY = 2_000, 1_200


@pytest.mark.parametrize(
    ("body", "ratio", "size_bytes", "status"),
    [
        ("stream", 1.0, LIMIT, 200),
        ("stream", 1.0, LIMIT + 1, 413),
        ("whole", 1.0, MEMORY, 200),
        ("whole", 1.0, MEMORY + 1, 500),
        ("whole", 4 / 3, 900, 200),
        ("whole", 4 / 3, 901, 500),
        ("whole", 1.0, LIMIT + 1, 413),
        ("", 1.0, LIMIT + 1, 200),
    ],
)
def test_bodies_of_a_worker(body: str, ratio: float, size_bytes: int, status: int) -> None:
    step = {"use": "workers.compute", "parameters": {"body": body, "body_ratio": ratio}}
    system = {**SYSTEM, "workers": {"body_bytes_max": LIMIT, "memory_bytes": MEMORY}}
    with routed({"one": route(step, method="PUT")}, system) as world:
        assert ask(world, method="PUT", size_bytes=size_bytes)[0].status == status


def test_a_key_takes_one_write_a_second_and_new_keys_any_number() -> None:
    step = {"use": "r2.put", "parameters": {"new_fraction": 0}}
    system = {**SYSTEM, "r2": {"writes_per_s": 0.001}}  # One in a thousand seconds: ask() lets a hundred pass.
    with routed({"one": route(step, method="PUT")}, system) as world:
        answers = [
            ask(world, method="PUT", size_bytes=9, key=key, object=n)[0] for n, key in enumerate((5, 5, 6, 6, 5))
        ]
        assert [answer.status for answer in answers] == [200, 429, 200, 429, 429]
        world.clock.run_until(world.clock.now_ms() + 1_000_000)
        assert ask(world, method="PUT", size_bytes=9, key=5)[0].status == 200
        assert sorted(objects(world)) == ["one/key-5", "one/key-6"]
    with routed({"one": route("r2.put", method="PUT")}, system) as world:
        statuses = {ask(world, method="PUT", size_bytes=9, key=5, object=n)[0].status for n in range(4)}
        assert (statuses, len(objects(world))) == ({200}, 4)


@pytest.mark.parametrize(("parallel", "mb_per_s"), [(1, 10.0935), (2, 12.5)])
def test_parts_of_an_upload(parallel: int, mb_per_s: float) -> None:
    table = {"bandwidth_bytes_per_s": 12.5e6, "part_bytes": 5_242_880, "part_rtt_ms": 100, "parallel_parts": parallel}
    found = settings(R2Settings.read, table)
    assert 1e8 / found.upload_ms(100_000_000) / 1_000 == pytest.approx(mb_per_s, rel=1e-4)
    assert found.transfer_ms(100_000_000) == 8_000


def test_parts_below_5_mib_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"part_bytes=5242879 must be 0, or >= 5242880"):
        settings(R2Settings.read, {"part_bytes": 5_242_879})


def spent(gaps_s: list[float], **table: Any) -> list[float | str]:
    """What requests with these gaps between an answer and the next request spend in the tunnel, or ``"lost"``."""
    clock = VirtualClock()
    streams = Streams("tunnel", settings(TunnelSettings.read, {"overhead_ms": 10, **table}), clock=clock)

    async def serve() -> Response:
        return Response(200, b"")

    found: list[float | str] = []
    for gap_s in gaps_s:
        clock.run_until(clock.now_ms() + gap_s * 1_000)
        watch = Stopwatch(clock)
        response: Response = clock.run(streams.carry(serve, watch, head_start=HeadStart()))[0]
        found.append(watch.spent_ms["tunnel"] if response.status == 200 else "lost")
    return found


GAPS_S = [100.0, 29.0, 31.0, 31.0, 1.0]
UNSENT = {"heartbeat_s": 15, "datagrams": "unsent"}
REFUSED = {"heartbeat_s": 15, "datagrams": "refused"}
"""Heartbeats whose datagrams nobody agreed on: the sender's loop ends, or the peer closes the connection (H37)."""


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ({}, [10, 10, 10, 10, 10]),
        ({"idle_timeout_s": 30, "reconnect_ms": 100}, [110, 10, 110, 110, 10]),
        ({"idle_timeout_s": 30, "reconnect_ms": 100, "heartbeat_s": 30}, [110, 10, 110, 110, 10]),
        ({"idle_timeout_s": 30, "reconnect_ms": 100, "heartbeat_s": 15}, [10, 10, 10, 10, 10]),
        ({"idle_timeout_s": 30, "reconnects": False}, [10, 10, "lost", "lost", "lost"]),
        ({"idle_timeout_s": 30, "reconnect_ms": 100, **UNSENT}, [110, 10, 110, 110, 10]),
        ({"reconnect_ms": 100, **REFUSED}, [110, 110, 110, 110, 10]),
        ({"reconnects": False, **REFUSED}, [10, "lost", "lost", "lost", "lost"]),
        ({"nat_timeout_s": 30}, [10, 10, 20, 20, 10]),
        ({"nat_timeout_s": 30, "heartbeat_s": 15}, [10, 10, 10, 10, 10]),
    ],
)
def test_a_silent_tunnel(table: dict[str, Any], expected: list[float | str]) -> None:
    assert spent(GAPS_S, **table) == expected

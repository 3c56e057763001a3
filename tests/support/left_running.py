"""What a run may leave behind: processes, and ports that somebody still listens on."""

import time
from collections.abc import Callable
from pathlib import Path
from socket import SOCK_DGRAM
from typing import Any

import psutil

Port = tuple[int, int]
"""Kind of socket and number."""


def is_running(pid: int) -> bool:
    """Whether a process is there and is no zombie."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def wait_until(condition: Callable[[], object]) -> None:
    """At most half a minute."""
    for _ in range(600):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError(f"still waiting for {condition}")


def ports_of(pid: int) -> set[Port]:
    """Ports that a process and those that it started listen on, or have bound for datagrams; at least one."""
    process = psutil.Process(pid)
    family = [process, *process.children(recursive=True)]
    found = {port for one in family for port in _ports(one.net_connections("inet"))}
    assert found, f"{family} listen on no port: there is nothing to watch"
    return found


def ports_in_use() -> set[Port]:
    """The same of all processes."""
    return _ports(psutil.net_connections("inet"))


def _ports(connections: list[Any]) -> set[Port]:
    listening = (one for one in connections if one.status == psutil.CONN_LISTEN or one.type == SOCK_DGRAM)
    return {(int(one.type), one.laddr.port) for one in listening}

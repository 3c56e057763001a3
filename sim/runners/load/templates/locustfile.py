"""Plays schedule.json with Locust: every request at its intended time, at most ``in_flight`` at once.

    locust -f locustfile.py --headless -u 1 -r 1                                      # one process
    locust -f locustfile.py --master --headless --expect-workers 2 -u 2 -r 2          # and two of: --worker

Start as many users as there are workers: each has one that plays its process's part. Process i of k plays the requests
whose number leaves remainder i, all from one instant of the wall clock. Response times count from the intended send;
``send lag`` is a row of its own: where it is a large part of the latency, the run says nothing of the deployment. The
run ends by itself after the last answer.
"""

import json
import os
import time
from pathlib import Path

import gevent
from gevent.event import AsyncResult
from gevent.pool import Pool
from locust import FastHttpUser, events, task
from locust.runners import WORKER_REPORT_INTERVAL, MasterRunner, WorkerRunner

PLAN = json.loads((Path(__file__).parent / "schedule.json").read_text(encoding="utf-8"))
LEAD_S = 2.0
PART, DONE = "headroom_part", "headroom_done"

part = AsyncResult()  # (number of this process, number of processes, start on the wall clock)
playing = []
done = set()


@events.init.add_listener
def register(environment, **_):
    """Let master and workers exchange the split, the start and the end."""
    if isinstance(environment.runner, MasterRunner):
        environment.runner.register_message(DONE, lambda environment, msg: finish(environment, msg.data))
    elif isinstance(environment.runner, WorkerRunner):
        environment.runner.register_message(PART, lambda msg, **_: part.set(msg.data))


@events.test_start.add_listener
def split(environment, **_):
    """Give each process its part."""
    start_s = time.time() + LEAD_S
    if isinstance(environment.runner, MasterRunner):
        workers = sorted(environment.runner.clients)
        for number, worker in enumerate(workers):
            environment.runner.send_message(PART, (number, len(workers), start_s), worker)
    elif not isinstance(environment.runner, WorkerRunner):
        part.set((0, 1, start_s))


def finish(environment, process):
    """End the run when every process has played its part."""
    done.add(process)
    expected = len(environment.runner.clients) if isinstance(environment.runner, MasterRunner) else 1
    if len(done) >= expected:
        # Workers report their statistics every few seconds; what is not reported when the run ends is lost.
        gevent.spawn_later(WORKER_REPORT_INTERVAL + 1.0, environment.runner.quit)


def headers_of(request):
    """Return the headers of a request; secrets come from the environment."""
    headers = {
        name: os.environ[value[4:]] if value.startswith("env:") else value for name, value in PLAN["headers"].items()
    }
    if "upload_bytes" in request:
        headers["Content-Type"] = "application/octet-stream"
    elif "body" in request:
        headers["Content-Type"] = "application/json"
    return headers


class ScheduleUser(FastHttpUser):
    """The first user of a process plays all of its part; others do nothing."""

    host = PLAN["url"]
    network_timeout = connection_timeout = PLAN["timeout_ms"] / 1000
    concurrency = PLAN["in_flight"]
    max_redirects = 0
    max_retries = 0

    @task
    def play(self):
        """Send every request at its time, each in a greenlet of its own."""
        if playing:
            gevent.sleep(3600)
        playing.append(self)
        number, processes, start_s = part.get()
        pool = Pool(PLAN["in_flight"])
        start_s += time.monotonic() - time.time()
        for request in PLAN["requests"][number::processes]:
            intended_s = start_s + request["at_ms"] / 1000
            gevent.sleep(max(0.0, intended_s - time.monotonic()))
            pool.spawn(self.send, request, intended_s)
        pool.join()
        runner = self.environment.runner
        if isinstance(runner, WorkerRunner):
            runner.send_message(DONE, number)
        else:
            finish(self.environment, number)
        gevent.sleep(3600)

    def send(self, request, intended_s):
        """Send one request; its latency counts from the intended send."""
        lag_ms = max(0.0, (time.monotonic() - intended_s) * 1000)
        self.environment.events.request.fire(
            request_type="send lag", name=request["route"], response_time=lag_ms, response_length=0,
            exception=None, context={}, response=None,
        )  # fmt: skip
        body = bytes(request["upload_bytes"]) if "upload_bytes" in request else request.get("body")
        with self.client.request(
            request["method"], request["path"], name=request["route"], data=body, headers=headers_of(request),
            allow_redirects=False, catch_response=True,
        ) as response:  # fmt: skip
            size = len(response.content or b"")
            response.request_meta["response_time"] = (time.monotonic() - intended_s) * 1000
            if not 200 <= response.status_code < 300:
                response.failure(f"status {response.status_code}")
            elif request.get("download_bytes", size) != size:
                response.failure(f"{size} bytes in place of {request['download_bytes']}")

"""The same queues in cimba: models in Python, compiled for an engine in C.

A model's class is compiled, so there is one for each network. Its experiment is prepared outside the measured
time.
"""

from functools import lru_cache
from typing import Any

import cimba
import numpy as np
from cimba import inputs

from benchmarks.jobs import Tandem, Times

# Cimba compiles these methods with types of its own, which mypy cannot check.
# mypy: allow-untyped-defs, allow-untyped-decorators, allow-untyped-calls


class Arrivals(cimba.Model):
    """Customers that arrive at a first queue, and the departure time of each."""

    gap_ms: cimba.Input[float]
    first_ms: cimba.Array[float]
    first: cimba.Store[int]
    who: cimba.Dataset
    ended_ms: cimba.Dataset

    @cimba.process
    def source(self):
        """Generate the customers, each identified by its number."""
        number = 0
        while number < len(self.first_ms):
            cimba.hold(self.gap_ms.next())
            self.first.put(number)
            number += 1


class OneStation(Arrivals):
    """Four servers behind one queue."""

    @cimba.process(copies=4)
    def server(self):
        """Serve customers in order of arrival."""
        while True:
            number = self.first.get()
            cimba.hold(self.first_ms[number])
            self.who.record(float(number))
            self.ended_ms.record(cimba.now())


class ThreeInARow(Arrivals):
    """Three stations in series, of two servers each."""

    second_ms: cimba.Array[float]
    third_ms: cimba.Array[float]
    second: cimba.Store[int]
    third: cimba.Store[int]

    @cimba.process(copies=2)
    def first_server(self):
        """Serves, and passes on."""
        while True:
            number = self.first.get()
            cimba.hold(self.first_ms[number])
            self.second.put(number)

    @cimba.process(copies=2)
    def second_server(self):
        """Serves, and passes on."""
        while True:
            number = self.second.get()
            cimba.hold(self.second_ms[number])
            self.third.put(number)

    @cimba.process(copies=2)
    def third_server(self):
        """Serve, and record the departure time."""
        while True:
            number = self.third.get()
            cimba.hold(self.third_ms[number])
            self.who.record(float(number))
            self.ended_ms.record(cimba.now())


SHAPES = {(1, 4): OneStation, (3, 2): ThreeInARow}
"""Model classes by number of stations and servers of each."""


@lru_cache(maxsize=1)
def prepared(job: Tandem) -> tuple[Any, cimba.Experiment]:
    """Return the model with its times, and the experiment that runs it once until every customer has left."""
    model: Any = SHAPES[job.stations, job.servers]()
    model.gap_ms = inputs.trace(np.diff(job.schedule.arrival_ms, prepend=0.0))
    for name, times in zip(("first_ms", "second_ms", "third_ms"), job.service_ms, strict=False):
        setattr(model, name, cimba.Array(times.tolist()))
    for name in ("who", "ended_ms"):
        record = cimba.Dataset()
        record.capture()
        setattr(model, name, record)
    return model, cimba.Experiment(model, window=cimba.Window.until_idle())


def play(job: Tandem) -> Times:
    """Return the latency of every request, in ms; shape (n,)."""
    model, experiment = prepared(job)
    results = experiment.run(workers=1, on_failure="raise")[model]
    who, ended = (record.trial(0, 0)[1] for record in (results.who, results.ended_ms))
    ended_ms = np.empty(len(who))
    ended_ms[who.astype(np.int64)] = ended
    return ended_ms - job.schedule.arrival_ms

"""The load driver's WebSocket sessions on the real runtime.

Goal: what is driven on the reference is driven on the runtime, and what the twin cannot serve is refused. Method: the
brief's synapse, which greets and answers; the rooms of a scenario, which the twin has not.
"""

import numpy as np
import pytest

from sim import load_scenario
from sim.foundation.errors import UsageError
from sim.runners import workerd
from tests.support import schedules
from tests.support.socket_rooms import synapse


def test_runtime_serves_the_synapse() -> None:
    planned = schedules.at(np.arange(40) * 20.0, routes=("ask",), key=np.arange(40) % 3)
    result = workerd.play(synapse(), planned, seed=1)
    assert set(result.frame["outcome"]) == {"ok"}
    assert (result.generator["socket_sessions"], result.generator["socket_unasked"]) == (3, 3)
    assert result.generator["socket_ended_early"] == {}


def test_rooms_of_a_scenario_are_refused() -> None:
    social = load_scenario("social").with_(**{"routes.say.socket": {"path": "/room/{key}"}})
    planned = schedules.at([0.0], routes=("say",))
    with pytest.raises(UsageError, match="route say needs rooms on WebSockets, which the runtime's twin does not have"):
        workerd.play(social, planned, seed=1)

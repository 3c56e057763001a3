"""The whole deployment: which way each route takes through the components.

======================  =======================================================
log                     network, workers, durable_objects with a ledger append
balance                 network, workers, durable_objects with a ledger read
search                  network, workers, d1 read
upload                  network, workers, r2 put, d1 write
download                network, workers, r2 get
device_log              tunnel, workers, durable_objects with a ledger append
======================  =======================================================

Every way lies inside the client's patience (:mod:`sim.models.client`).

Sources
-------
The routes are the brief's architecture; the order of components is what ``reference_impl`` does with a request.
"""

from sim.flow import Flow, Match
from sim.flow.validation import check
from sim.models import client, d1, durable_objects, ledger, network, r2, tunnel, workers
from sim.scenario.scenario import Scenario


def deployment(scenario: Scenario) -> Flow:
    """The Flow of *scenario*: every route, from the client and back.

    Raises
    ------
    ModelError
        The scenario's numbers describe a part that cannot exist.
    """
    flow = client.flow(scenario.system.client, (Match(tuple(ways(scenario).items())),))
    check(flow)
    return flow


def ways(scenario: Scenario) -> dict[str, Flow]:
    """The way of each route, without the client's patience around it."""
    system = scenario.system
    objects = system.durable_objects
    place = durable_objects.station(objects, scenario.workload.keys.count)
    compute = workers.flow(system.workers)
    event = ledger.append(system.ledger, objects, place=place, store=d1.write(system.d1))
    append = durable_objects.flow(objects, place, work=event, writes=True)
    read = durable_objects.flow(objects, place, work=ledger.read(system.ledger), writes=False)
    return {
        "log": network.flow(system.network, (*compute, *append)),
        "balance": network.flow(system.network, (*compute, *read)),
        "search": network.flow(system.network, (*compute, *d1.read(system.d1))),
        "upload": network.flow(system.network, (*compute, *r2.put(system.r2), *d1.write(system.d1))),
        "download": network.flow(system.network, (*compute, *r2.get(system.r2))),
        "device_log": tunnel.flow(system.tunnel, (*compute, *append)),
    }

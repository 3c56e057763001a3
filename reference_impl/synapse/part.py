"""The component ``synapse``: a namespace of its own, with the service times of another namespace."""

from dataclasses import dataclass

from reference_impl.durable_objects.namespace import Namespace
from reference_impl.parts import Context, Part
from reference_impl.synapse.council import PUBLISHED_COUNCIL
from reference_impl.synapse.synapse import CloudSynapse
from reference_impl.tables import Table


@dataclass(frozen=True)
class SynapseSettings:
    """Settings of a synapse whose objects have the service times of the namespace *objects*."""

    objects: str

    @classmethod
    def read(cls, table: Table) -> "SynapseSettings":
        """Read the table of a synapse."""
        return cls(objects=table.text("objects", "durable_objects"))


def build(settings: SynapseSettings, context: Context) -> Namespace:
    """Build an instance of the component."""
    like: Namespace = context.other(settings.objects, "durable_objects", key="objects")
    return Namespace(
        context.name,
        lambda state: CloudSynapse(state, PUBLISHED_COUNCIL, clock=context.clock),
        clock=context.clock,
        disk=context.volumes.disk(context.name),
        settings=like.settings,
        keeps_plan=context.keeps_plan,
    )


PART = Part("synapse", settings=SynapseSettings.read, build=build, start=Namespace.resume)

"""The component ``network``: an entry for requests over HTTP."""

from reference_impl.network.network import Network, NetworkSettings
from reference_impl.parts import Context, Part


def build(settings: NetworkSettings, context: Context) -> Network:
    """Build an instance of the component."""
    return Network(context.name, settings)


PART = Part("network", settings=NetworkSettings.read, build=build, transport="http")

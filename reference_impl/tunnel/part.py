"""The component ``tunnel``: an entry for requests on QUIC streams."""

from reference_impl.parts import Context, Part
from reference_impl.tunnel.streams import Streams, TunnelSettings


def build(settings: TunnelSettings, context: Context) -> Streams:
    """Build an instance of the component."""
    return Streams(context.name, settings, clock=context.clock)


PART = Part("tunnel", settings=TunnelSettings.read, build=build, transport="quic")

"""The component ``cron``: an entry for scheduled runs."""

from reference_impl.cron.trigger import CronSettings, Trigger
from reference_impl.parts import Context, Part


def build(settings: CronSettings, context: Context) -> Trigger:
    """Build an instance."""
    return Trigger(context.name, settings)


PART = Part("cron", settings=CronSettings.read, build=build, transport="http")

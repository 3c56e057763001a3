"""The instances of a deployment, each built at its first use so that instances may depend on each other."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from reference_impl.deployment_file import InstanceSpec
from reference_impl.durable_objects.turns import no_step
from reference_impl.errors import ConfigError
from reference_impl.sqlite.engines import Engine
from reference_impl.timing.clock import Clock
from reference_impl.volumes.volumes import Volumes


class Instances(Mapping[str, Any]):
    """All instances by name.

    Parameters
    ----------
    specs
        Component and settings of each instance.
    volumes
        Storage of the instances.
    clock
        The deployment's clock.
    keeps_plan
        False at full speed.
    migrations
        SQL of the deployment's own migrations, by file name.
    on_step
        Storage hook, see :mod:`reference_impl.durable_objects.turns`.

    Raises
    ------
    ConfigError
        If an instance refers to one that does not exist, or the dependencies are cyclic.
    """

    def __init__(
        self,
        specs: Mapping[str, InstanceSpec],
        volumes: Volumes,
        *,
        clock: Clock,
        keeps_plan: bool,
        migrations: Mapping[str, str],
        on_step: Callable[[str], None] = no_step,
    ) -> None:
        self._specs = specs
        self.volumes = volumes
        self.clock = clock
        self.keeps_plan = keeps_plan
        self.migrations = migrations
        self.on_step = on_step
        self._built: dict[str, Any] = {}
        self._being_built: list[str] = []
        for name in specs:
            self.build(name)

    def __getitem__(self, name: str) -> Any:
        return self._built[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._built)

    def __len__(self) -> int:
        return len(self._built)

    def build(self, name: str) -> Any:
        """Return the instance *name*; build it if necessary."""
        if name not in self._built:
            if name in self._being_built:
                raise ConfigError(f"system.{name} depends on itself through {' and '.join(self._being_built)}")
            self._being_built.append(name)
            spec = self._specs[name]
            self._built[name] = spec.part.build(spec.settings, _Context(self, name))
            self._being_built.pop()
        return self._built[name]

    def start(self) -> None:
        """Call the start hook of every instance."""
        for name, spec in self._specs.items():
            if spec.part.start is not None:
                spec.part.start(self._built[name])

    def named(self, name: str, component: str, *, where: str) -> Any:
        """Return the instance that the configuration names at *where*; check that it is one of *component*."""
        alike = [spec.name for spec in self._specs.values() if spec.part.component == component]
        if name not in alike:
            there = f"there are {', '.join(alike)}" if alike else "there is none"
            raise ConfigError(f"{where}={name!r} must name an instance of {component}; {there}")
        return self.build(name)


class _Context:
    """The context passed to the builder of one instance."""

    def __init__(self, instances: Instances, name: str) -> None:
        self._instances = instances
        self.name = name
        self.clock = instances.clock
        self.keeps_plan = instances.keeps_plan
        self.migrations = instances.migrations
        self.volumes = instances.volumes
        self.on_step = instances.on_step

    def engine(self, name: str = "database") -> Engine:
        """Return a SQLite database of the instance's own."""
        return self.volumes.engine(self.name, name)

    def other(self, name: str, component: str, *, key: str) -> Any:
        """Return another instance, which the table of this one names under *key*."""
        return self._instances.named(name, component, where=f"system.{self.name}.{key}")

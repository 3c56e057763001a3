"""``python -m reference_impl``: run the reference deployment.

It prints one JSON line with its addresses when it is ready. SIGTERM or SIGINT ends it with status 0; invalid
options end it with status 2 and one line on standard error.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from reference_impl.errors import ImplError

if TYPE_CHECKING:
    from reference_impl.deployment_file import Specification
    from reference_impl.workers.access import Gatekeeper

USAGE_STATUS = 2
PORT_MAX = 65_535


def main() -> int:
    """Serve; return the exit status."""
    options = _parser().parse_args()
    if options.count_rows_in is not None:
        return _count_rows(options.count_rows_in)
    try:
        for path in options.part or ():
            _execute(path)
        specification = _specification(options)
        access = _access(options.keys)
    except ImplError as error:
        return _refuse(error)
    from reference_impl.server.app import Options, run

    with _data_folder(options.data) as data:
        try:
            run(
                Options(
                    counts_rows=options.count_rows,
                    host=options.host,
                    port=options.port,
                    quic_port=options.quic_port,
                    data=data,
                    specification=specification,
                    fsync=options.fsync,
                    access=access,
                )
            )
        except ImplError as error:
            return _refuse(error)
    return 0


@contextmanager
def _data_folder(asked: Path | None) -> Iterator[Path]:
    """Yield the folder that was asked for, or a temporary one."""
    if asked is not None:
        yield asked.absolute()
        return
    with tempfile.TemporaryDirectory(prefix="headroom-reference-") as scratch:
        yield Path(scratch)


def _specification(options: argparse.Namespace) -> "Specification":
    from reference_impl.deployment_file import Specification
    from reference_impl.errors import ConfigError

    if options.deployment is None:
        return Specification.full_speed(policy=options.policy or "hardened")
    if options.policy is not None:
        raise ConfigError(f"policy={options.policy}: the deployment file names the policy already; leave one out")
    return Specification.from_json(_read("deployment", options.deployment))


def _execute(path: Path) -> None:
    """Execute a user's file that registers components."""
    from reference_impl.errors import ConfigError

    source = _read("part", path)
    try:
        exec(compile(source, str(path), "exec"), {"__name__": path.stem, "__file__": str(path)})  # noqa: S102  # the operator's own code, as asked
    except ImplError as error:
        raise ConfigError(f"part={str(path)!r}: {error}") from None
    except Exception as error:  # noqa: BLE001  # the file may raise anything
        said = str(error).partition("\n")[0]
        raise ConfigError(f"part={str(path)!r} failed: {type(error).__name__}: {said}") from None


def _access(path: Path | None) -> "Gatekeeper | None":
    from reference_impl.workers.access import Gatekeeper, read_grants

    return None if path is None else Gatekeeper(read_grants(_read("keys", path)))


def _read(option: str, path: Path) -> str:
    from reference_impl.errors import ConfigError

    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{option}={str(path)!r} cannot be read: {error}") from None


def _refuse(error: ImplError) -> int:
    print(f"reference_impl: {error}", file=sys.stderr)
    return USAGE_STATUS


def _count_rows(folder: Path) -> int:
    """Answer what statements on databases read and write, until standard input ends."""
    import signal

    from reference_impl.server.row_counter import answer_lines

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    if not folder.is_dir():
        print(f"reference_impl: count_rows_in={str(folder)!r} must be a folder; there is none", file=sys.stderr)
        return USAGE_STATUS
    answer_lines(folder, sys.stdin, answer=lambda line: print(line, flush=True))
    return 0


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > PORT_MAX:
        raise argparse.ArgumentTypeError(f"{text} must be a port number, 0..{PORT_MAX}")
    return int(text)


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> None:  # type: ignore[override]  # typeshed says NoReturn; so it is
        """Print *message* and end with status 2."""
        self.exit(USAGE_STATUS, f"{self.prog}: {message}\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="reference_impl", description="Serve the reference deployment.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=_port, default=0, help="HTTP port; 0 takes any")
    parser.add_argument("--quic-port", type=_port, default=0, help="tunnel port; 0 takes any")
    parser.add_argument("--data", type=Path, help="folder of all state; default: temporary")
    parser.add_argument("--deployment", type=Path, help="deployment file (JSON); default: the brief's API, full speed")
    parser.add_argument("--part", type=Path, action="append", help="Python file that registers components; repeatable")
    parser.add_argument("--policy", choices=("seed", "hardened"), help="ledger policy at full speed")
    parser.add_argument("--count-rows", action="store_true", help="count the rows of objects too, at some cost")
    parser.add_argument(
        "--count-rows-in", type=Path, metavar="FOLDER", help="serve nothing: count rows of statements on stdin (JSON)"
    )
    parser.add_argument("--keys", type=Path, help="key file (JSON); default: no key is required")
    parser.add_argument("--fsync", choices=("full", "normal", "off"), default="normal", help="durability of writes")
    return parser


if __name__ == "__main__":
    sys.exit(main())

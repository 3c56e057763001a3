"""The process of an embedded reference: the reference, at the priority that its timing needs.

    python -P -m sim.runners.reference_process [arguments of reference_impl]

Its priority is that of the load driver (:mod:`sim.runners.load.priority`), since its timing is what is measured. That
it ends when the process that started it does, and its folder with it, is the sitter's work (:mod:`sim.runners.sitter`).
"""

import runpy

from sim.runners.load.priority import go_ahead


def main() -> None:
    """Run the reference in this process."""
    go_ahead()
    runpy.run_module("reference_impl", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()

"""Planted defects: what the tests of the ledger must find, and whether they do.

Each defect is a change of a few words in the source of the deployment, of the kind that somebody makes on a tired
afternoon. A process of its own loads the changed source, plays fault schedules, and, if none of them fails, runs the
property tests that are named beside the defect. A defect that nothing finds is a hole in the tests.

``python -m tests.defects`` plants all of them and writes ``docs/DEFECTS.md``; ``--plant NAME`` plants one.
"""

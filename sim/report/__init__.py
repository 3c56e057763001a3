"""The report: one plan as one page that stands alone, to be read from the verdict down.

:mod:`~sim.report.page` puts it together from tables (:mod:`~sim.report.tables`) and drawings
(:mod:`~sim.report.figures`); the sentences come from :mod:`sim.report.sentences`, the words from
:mod:`sim.report.wording`.
"""

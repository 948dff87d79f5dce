"""Quality gates: figures of reports, and whether they are good enough.

========== ==========================================================================
module     what
========== ==========================================================================
config     the ``gates`` block of pipeline.yaml
reports    files that tools wrote, read within bounds
coverage   lines that tests ran: Cobertura, JaCoCo, lcov
findings   what scanners found, and the grade that follows
sarif      findings in SARIF
audits     findings in the JSON of pip-audit, npm audit, Trivy and Bandit
locust     a load test's figures, and the score that follows
docs       documentation that is there, and that changed with the code
check      from reports to verdicts: the one call that pipelines and promotions make
========== ==========================================================================

Nothing here talks to a network. ``reports.read`` reads files; all else is a function of its inputs.
"""

"""The runner: takes one backup, or brings one back, and says truthfully how that went.

``python -m homeport.runner JOB`` runs in a Job's Pod beside the data, or anywhere else. It is a program of its own: it
needs the standard library, restic, and the client programs of what it dumps, and neither Kubernetes nor the rest of
Homeport. Whoever starts it writes a job (``job.py``) and reads a result (``result.py``); both are in
``docs/backup-runner.md``.
"""

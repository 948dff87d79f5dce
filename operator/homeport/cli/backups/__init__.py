"""``homeport backup``. What several of its commands need is in ``common``, ``choice`` and ``following``."""

"""``python -m homeport`` is the ``homeport`` command."""

from __future__ import annotations

import sys

from homeport.cli import main

if __name__ == "__main__":
    sys.exit(main())

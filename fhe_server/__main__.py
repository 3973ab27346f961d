"""`python -m fhe_server` is `tacita-server`."""

from __future__ import annotations

import sys

from fhe_server.cli import main

if __name__ == "__main__":
    sys.exit(main())

"""These tests need Concrete ML itself, 6.5 GB in an environment of its own: only `make conformance` collects them."""

from __future__ import annotations

import os

from benchmarks.upstream import VARIABLE

collect_ignore_glob = [] if os.environ.get(VARIABLE) else ["test_*.py"]

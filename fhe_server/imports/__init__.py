"""From a checkpoint to an artefact: reading, tracing, calibrating, rounding, hints and writing.

Knows nothing of clients, requests or limits: it runs before anything is served.
"""

from __future__ import annotations

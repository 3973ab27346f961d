"""From an artefact to a service: rounds, batches, limits, tokens, configuration, logs and the processes that answer.

Knows neither checkpoints nor calibration: an artefact on disk is all that it serves.
"""

from __future__ import annotations

"""What both sides must agree on: parameters, public masks, digit planes, frames, manifest. No secret lives here."""

from __future__ import annotations

PROTOCOL_VERSION = 1
"""Raised whenever a frame, a mask or a manifest changes its meaning."""

SOFTWARE_NAME = "tacita"

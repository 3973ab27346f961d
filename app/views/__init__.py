"""Widgets. They show what the controller says and know nothing of the engine."""

from __future__ import annotations

"""Concrete ML's encrypted matrix product as a service. Native code runs only in disposable child processes."""

from __future__ import annotations

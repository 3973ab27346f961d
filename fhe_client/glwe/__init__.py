"""The client of the `glwe` scheme: Concrete ML's encrypted matrix product behind the interface of `LinearRunner`."""

from __future__ import annotations

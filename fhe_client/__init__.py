"""Keys, secrets, encryption, the hybrid model, generation, transport and the command line."""

from __future__ import annotations

"""Scheme `hint` on the client: randomness, secrets, pads, slots, the session that spends them, and the audit of hints.

Knows neither the network nor the model: it is handed a channel and hints, and hands back products.
"""

from __future__ import annotations

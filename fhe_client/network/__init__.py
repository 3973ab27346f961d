"""Everything that talks to a server: connections, rounds, retries, byte counts, and what is kept of a server on disk.

Knows neither secrets nor the model: bytes of queries and answers pass through it unread.
"""

from __future__ import annotations

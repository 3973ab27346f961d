"""A local endpoint that speaks OpenAI's chat API, so that other programs of this computer talk through Tacita.

Plain text exists on this computer only, as it does in the window: what leaves it is what a chat sends.
"""

from __future__ import annotations

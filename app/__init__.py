"""The desktop chat: windows and their controller. It knows fhe_client only as a child process."""

from __future__ import annotations

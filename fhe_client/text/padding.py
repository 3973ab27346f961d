"""Pads prompts and replies to whole buckets, so that their lengths show only by the number of buckets.

    prompt    [t1 ... t50, f ... f]            64 rows: the fillers stand behind all that counts, so nothing that
                                               counts attends to them, and they leave the cache with the pass
    reply     1 + 19 passes, then 12 more      32 in all, the prompt's last one included; the later passes look like
                                               the others, their scores are ignored, and they leave the cache

Every filler row takes a fresh slot, as any row does. A prompt is read in passes of whole buckets: a window of slots
that ends within a bucket is given up, which depends on the slots used so far alone.
"""

from __future__ import annotations

from fhe_client.model.errors import PassError
from fhe_client.model.passes import PassState

BUCKET = 32
"""Rows of a prompt, and passes of a reply, are padded to a multiple of this."""


def filler_rows(count: int) -> int:
    """Rows to add to `count` of them; 0 to BUCKET - 1."""
    return -count % BUCKET


def prompt_rows(state: PassState, most: int) -> int:
    """Rows of the next pass over a padded prompt: whole buckets, at most `most`.

    Raises:
        PassError: no window of slots holds a bucket.
    """
    state.make_room(BUCKET)
    rows = min(most, state.runner.rows_until_window_end()) // BUCKET * BUCKET
    if not rows:
        raise PassError("A window of slots is too short for padding.", "Switch padding off.")
    return rows

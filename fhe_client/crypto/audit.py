"""The hint audit: before a digest is used for the first time, encryptions of zero must come back as noise.

A throw-away secret per part, random slots, plaintext zero. An honest server's answers decrypt to within 8 sigma
in every row. A hint that is off by one monomial c*X^k with c beyond the noise shows in a slot unless the
ternary secret is zero at the matching place, so it passes one slot with probability 1/3 and sixteen slots with
3^-16 = 2^-25 (docs/decisions/0005-sixteen-slots-of-audit.md). The queries cannot be told from real ones.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from fhe_client.crypto.errors import HintAuditError
from fhe_client.crypto.pads import HintSource, fill_part
from fhe_client.crypto.secrets import EpochSecrets
from fhe_client.crypto.session import RoundChannel
from fhe_client.keys import MasterKey
from fhe_protocol.manifest import Group, Manifest
from fhe_protocol.planes import offset_to_planes
from fhe_protocol.wire import FrameHeader, answer_size, pack_query, parse_answer

AUDIT_SLOTS = 16


def audit_hints(
    manifest: Manifest,
    channel: RoundChannel,
    hints: HintSource,
    master_key: MasterKey,
    *,
    on_progress: Callable[[int, int], None] | None = None,
    slots: int = AUDIT_SLOTS,
) -> None:
    """Check every part of every group. All groups are asked, whatever the answers say.

    Args:
        on_progress: called with (groups done, groups).
        slots: how many random slots are tried, at least 2.

    Raises:
        HintAuditError: some row decrypts to more than the guard.
    """
    if slots < 2:
        raise ValueError("an audit needs at least two slots")
    secrets = EpochSecrets(master_key, manifest.parameters)
    bad: list[str] = []
    try:
        for group in manifest.groups:
            if not _group_is_honest(manifest, channel, hints, secrets, group, slots):
                bad.append(group.name)
            if on_progress is not None:
                on_progress(group.index + 1, len(manifest.groups))
    finally:
        secrets.wipe()
    if bad:
        raise HintAuditError(
            f"The server's hints do not match its answers in {len(bad)} of "
            f"{len(manifest.groups)} layers. Nothing of yours was sent.",
            "Do not use this server; tell its operator that the hint audit failed.",
        ).about(bad=len(bad), total=len(manifest.groups))


def _group_is_honest(
    manifest: Manifest,
    channel: RoundChannel,
    hints: HintSource,
    secrets: EpochSecrets,
    group: Group,
    count: int,
) -> bool:
    chosen = random.SystemRandom().sample(range(manifest.parameters.ring_degree), count)
    slots = np.array(sorted(chosen), dtype=np.int64)
    pads = [_zero_pads(manifest, hints, secrets, group, k, slots) for k in range(len(group.parts))]
    header = FrameHeader(int.from_bytes(os.urandom(4), "little"), group.index, count)
    frame = pack_query(header, [offset_to_planes(query) for query, _ in pads])
    answers = parse_answer(channel.exchange(frame, answer_size(group, count)), group, header)
    return all(
        _is_noise(manifest, group, k, answer, pads[k][1]) for k, answer in enumerate(answers)
    )


def _zero_pads(
    manifest: Manifest,
    hints: HintSource,
    secrets: EpochSecrets,
    group: Group,
    part: int,
    slots: NDArray[np.int64],
) -> tuple[NDArray[np.uint32], NDArray[np.uint16]]:
    query = np.zeros((slots.size, group.parts[part].inputs), dtype=np.uint32)
    product = np.zeros((slots.size, group.outputs), dtype=np.uint16)
    fill_part(manifest, secrets, hints, group.first_part + part, slots, query, product)
    return query, product


def _is_noise(
    manifest: Manifest,
    group: Group,
    part: int,
    answer: NDArray[np.uint16],
    product: NDArray[np.uint16],
) -> bool:
    parameters = manifest.parameters
    decrypted = (answer - product).view(np.int16).astype(np.int64) * parameters.step
    limit = parameters.guard(group.parts[part].w_norm) + parameters.step
    return bool(np.all(np.abs(decrypted) <= limit))

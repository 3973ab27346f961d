"""What the system allows a server."""

from __future__ import annotations

import subprocess
import sys

import pytest

resource = pytest.importorskip("resource", reason="this system has no such limits")

CODE = """
import resource
from fhe_server.service.limits import allow_connections
resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))
allow_connections({count})
print(*resource.getrlimit(resource.RLIMIT_NOFILE))
"""


@pytest.mark.parametrize(
    ("soft", "hard", "count", "found"),
    [
        (100, 1000, 50, (356, 1000)),
        (100, 200, 50, (200, 200)),  # not beyond what the system allows
        (900, 1000, 50, (900, 1000)),  # never less than there was
    ],
)
def test_there_is_room_for_the_connections(
    soft: int, hard: int, count: int, found: tuple[int, int]
) -> None:
    code = CODE.format(soft=soft, hard=hard, count=count)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert tuple(map(int, done.stdout.split())) == found

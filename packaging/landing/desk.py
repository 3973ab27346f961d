"""A desk without a person: an X server, a session bus with a real Secret Service, and hands for mouse and keyboard.

All of it runs outside the root under test, so that the package's own Depends are all that the program finds there.
Widgets are found by role and accessible name, as a screen reader finds them; clicks and keys are real ones (xdotool).
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PASSWORD = "landing"


@dataclass
class Desk:
    """The display, the bus and the folder for the session's sockets. `close` ends what was started."""

    folder: Path
    owner: int
    display: str = ":77"
    size: str = "1180x820"
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    address: str = ""

    @property
    def runtime(self) -> Path:
        """XDG_RUNTIME_DIR."""
        return self.folder / "run"

    def environment(self) -> dict[str, str]:
        """What a program on this desk is started with."""
        return {
            "DISPLAY": self.display,
            "DBUS_SESSION_BUS_ADDRESS": self.address,
            "XDG_RUNTIME_DIR": str(self.runtime),
            "HOME": str(self.folder / "home"),
            "PATH": os.environ["PATH"],
            "LANG": "C.UTF-8",
        }

    def start(self) -> None:
        """X server, session bus, accessibility bus, keyring: each must be there before the next."""
        for folder in (self.folder, self.runtime, self.folder / "home"):
            folder.mkdir(parents=True, exist_ok=True)
            os.chown(folder, self.owner, self.owner)
            folder.chmod(0o700)
        number = self.display.removeprefix(":")
        self._spawn(
            ["Xvfb", self.display, "-ac", "-nolisten", "tcp", "-screen", "0", f"{self.size}x24"]
        )
        wait_for(lambda: Path(f"/tmp/.X11-unix/X{number}").exists(), "the X server")
        self.address = f"unix:path={self.runtime}/bus"
        self._spawn(
            ["dbus-daemon", "--session", "--nofork", f"--address={self.address}"], mine=True
        )
        wait_for((self.runtime / "bus").exists, "the session bus")
        self._spawn(["openbox"], mine=True)
        self._spawn(["/usr/libexec/at-spi-bus-launcher", "--launch-immediately"], mine=True)
        keyring = self._spawn(
            ["gnome-keyring-daemon", "--foreground", "--unlock", "--components=secrets"],
            mine=True,
            stdin=subprocess.PIPE,
        )
        assert keyring.stdin is not None
        keyring.stdin.write(PASSWORD.encode())
        keyring.stdin.close()
        wait_for(lambda: self.owns_name("org.freedesktop.secrets"), "the Secret Service")

    def owns_name(self, name: str) -> bool:
        """Whether a service is on the session bus."""
        done = subprocess.run(
            self.as_user(["dbus-send", "--session", "--print-reply", "--dest=org.freedesktop.DBus", "/",
                          "org.freedesktop.DBus.GetNameOwner", f"string:{name}"]),
            env=self.environment(), capture_output=True, check=False,
        )  # fmt: skip
        return done.returncode == 0

    def as_user(self, command: list[str]) -> list[str]:
        """A command run by the desk's owner."""
        return [
            "setpriv",
            f"--reuid={self.owner}",
            f"--regid={self.owner}",
            "--clear-groups",
            *command,
        ]

    def _spawn(
        self, command: list[str], *, mine: bool = False, **streams: Any
    ) -> subprocess.Popen[bytes]:
        log = (self.folder / f"{Path(command[0]).name}.log").open("wb")
        process = subprocess.Popen(
            self.as_user(command) if mine else command,
            env=self.environment(), stdout=log, stderr=log, **streams,
        )  # fmt: skip
        self.processes.append(process)
        return process

    def close(self) -> None:
        """End everything, last started first."""
        for process in reversed(self.processes):
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
        self.processes.clear()

    # -- eyes and hands ------------------------------------------------------------------------------

    def screenshot(self, path: Path) -> None:
        """The whole screen as PNG."""
        path.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(
            ["import", "-window", "root", "-strip", str(path)], env=self.environment(), check=True
        )

    def hands(self, *arguments: str) -> str:
        """xdotool."""
        return subprocess.run(
            ["xdotool", *arguments],
            env=self.environment(),
            check=True,
            capture_output=True,
            text=True,
        ).stdout

    def keys(self, *keys: str) -> None:
        """Press key combinations."""
        self.hands("key", "--clearmodifiers", *keys)

    def write(self, text: str) -> None:
        """Type."""
        self.hands("type", "--delay", "25", text)

    def window_title(self) -> str:
        """The title of some visible window of the program; empty if there is none."""
        with contextlib.suppress(subprocess.CalledProcessError):
            for ident in self.hands("search", "--onlyvisible", "--name", "Tacita").split():
                return self.hands("getwindowname", ident).strip()
        return ""

    def widgets(self) -> list[Widget]:
        """Every widget that is showing now."""
        done = subprocess.run(
            self.as_user(["/usr/bin/python3", str(Path(__file__).with_name("look.py"))]),
            env=self.environment(), capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip
        found = []
        for line in done.stdout.splitlines():
            parts = line.split("\t")
            if len(parts) == 7:
                found.append(Widget(parts[0], parts[1], *map(int, parts[2:6]), parts[6]))
        return found

    def find(self, name: str, role: str = "", seconds: float = 60) -> Widget:
        """The widget of that accessible name (and role), once it is showing."""
        deadline = time.monotonic() + seconds
        while True:
            seen = self.widgets()
            for widget in seen:
                if widget.name == name and role in ("", widget.role):
                    return widget
            if time.monotonic() > deadline:
                names = sorted({f"{w.role}:{w.name}" for w in seen if w.name})
                raise TimeoutError(
                    f"no {role or 'widget'} {name!r} on the screen; there is {names[:60]}"
                )
            time.sleep(0.5)

    def click(self, name: str, role: str = "", seconds: float = 60) -> Widget:
        """Click on the middle of a widget."""
        widget = self.find(name, role, seconds)
        x, y = widget.x + min(widget.width // 2, 40), widget.y + widget.height // 2
        self.hands("mousemove", str(x), str(y), "click", "1")
        time.sleep(0.3)
        return widget

    def wait_for_text(self, condition: Callable[[str], bool], what: str, seconds: float) -> str:
        """All names and texts on the screen, once they satisfy a condition."""
        deadline = time.monotonic() + seconds
        while True:
            text = "\n".join(f"{w.name}\n{w.text}" for w in self.widgets())
            if condition(text):
                return text
            if time.monotonic() > deadline:
                raise TimeoutError(f"{what} did not happen within {seconds:.0f} s")
            time.sleep(1)


@dataclass(frozen=True)
class Widget:
    """One accessible object: where it is on the screen, and its text."""

    role: str
    name: str
    x: int
    y: int
    width: int
    height: int
    text: str


def wait_for(condition: Callable[[], bool], what: str, seconds: float = 60) -> None:
    """Poll; fail with what was waited for."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} did not come within {seconds:.0f} s")
        time.sleep(0.02)


@contextlib.contextmanager
def desk(folder: Path, owner: int) -> Iterator[Desk]:
    """A started desk."""
    made = Desk(folder, owner)
    try:
        made.start()
        yield made
    finally:
        made.close()

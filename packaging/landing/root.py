"""A clean Debian in a folder: made once with debootstrap, copied for each run, entered with mounts of its own."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

SUITE = "bookworm"
USER, UID = "tester", 1000

_ENTER = r"""
set -e
root=$1 user=$2; shift 2
mount -t proc proc "$root/proc"
mount --rbind -o ro /sys "$root/sys" 2>/dev/null || true
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for name in null zero full random urandom tty; do
    : >"$root/dev/$name"
    mount --bind "/dev/$name" "$root/dev/$name"
done
mkdir -m 1777 "$root/dev/shm"
ln -s /proc/self/fd "$root/dev/fd"
while [ "$1" != -- ]; do mkdir -p "$root$1"; mount --rbind "$1" "$root$1"; shift; done
shift
exec chroot --userspec="$user" "$root" "$@"
"""


@dataclass(frozen=True)
class Root:
    """A root folder. Mounts exist only inside `command`'s own namespace, so the folder can be copied and deleted."""

    path: Path

    def command(
        self, arguments: Sequence[str], *, user: int = 0, binds: Sequence[Path] = (), **env: str
    ) -> list[str]:
        """The command line that runs `arguments` inside as `user`, with the folders of `binds` at their own places."""
        home = f"/home/{USER}" if user else "/"
        values = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": home, "LANG": "C.UTF-8", **env}
        return [
            "unshare", "--mount", "--propagation", "private", "--", "sh", "-c", _ENTER, "enter", str(self.path),
            f"{user}:{user}", *map(str, binds), "--",
            "env", "-i", "-C", home, *(f"{k}={v}" for k, v in values.items()), *arguments,
        ]  # fmt: skip

    def run(
        self,
        arguments: Sequence[str],
        *,
        user: int = 0,
        check: bool = True,
        seconds: float = 600,
        **more: str,
    ) -> subprocess.CompletedProcess[str]:
        """Run to the end; both streams as text in stdout."""
        done = subprocess.run(
            self.command(arguments, user=user, **more), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL, text=True, errors="replace", timeout=seconds, check=False,
        )  # fmt: skip
        if check and done.returncode:
            raise RuntimeError(
                f"{shlex.join(arguments)}: exit {done.returncode}\n{done.stdout[-3000:]}"
            )
        return done

    def apt(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """apt-get, without questions and without recommended packages."""
        options = [
            "-qq",
            "-y",
            "--no-install-recommends",
            "-o",
            "Acquire::Retries=3",
            "-o",
            "APT::Sandbox::User=root",
        ]
        return self.run(
            ["apt-get", *options, *arguments], check=check, DEBIAN_FRONTEND="noninteractive"
        )

    def packages(self) -> dict[str, int]:
        """Installed packages and their KiB."""
        listed = self.run(
            ["dpkg-query", "-W", "-f", "${db:Status-Abbrev}\t${Package}\t${Installed-Size}\n"]
        ).stdout
        rows = (line.split("\t") for line in listed.splitlines())
        return {
            row[1]: int(row[2] or 0) for row in rows if len(row) == 3 and row[0].startswith("ii")
        }

    def version(self, package: str) -> str:
        """The installed version; empty if it is not."""
        done = self.run(
            ["dpkg-query", "-W", "-f", "${db:Status-Abbrev}${Version}", package], check=False
        )
        return done.stdout.removeprefix("ii ").strip() if done.stdout.startswith("ii") else ""

    def forget_pages(self, folders: Sequence[str]) -> None:
        """Drop the files of these folders from the page cache, so that the next start reads the disk."""
        os.sync()
        for folder in folders:
            for path in files(self.path / folder):
                descriptor = os.open(path, os.O_RDONLY)
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
                os.close(descriptor)


def files(folder: Path) -> Iterator[Path]:
    """Regular files below."""
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            yield path


def package_source() -> str:
    """The mirror that this machine's own apt uses."""
    listed = Path("/etc/apt/sources.list.d/debian.sources")
    text = listed.read_text() if listed.is_file() else ""
    text += (
        Path("/etc/apt/sources.list").read_text() if Path("/etc/apt/sources.list").is_file() else ""
    )
    found = re.search(r"^URIs:\s*(\S+)", text, re.M) or re.search(
        r"^deb\s+(?:\[[^]]*\]\s+)?(\S+)", text, re.M
    )
    if not found:
        raise RuntimeError("no Debian mirror is configured on this machine")
    return found[1]


def base_root(folder: Path) -> Path:
    """The pristine root, made if it is not there."""
    base = folder / "base"
    if not (base / "usr/bin/apt-get").is_file():
        shutil.rmtree(base, ignore_errors=True)
        command = [
            "debootstrap",
            "--variant=minbase",
            "--include=ca-certificates",
            SUITE,
            str(base),
        ]
        subprocess.run([*command, package_source()], check=True, stdout=subprocess.DEVNULL)
    return base


def fresh_root(folder: Path, name: str = "root") -> Root:
    """A copy of the pristine root with a user, and with this machine's way to its mirror."""
    base, path = base_root(folder), folder / name
    shutil.rmtree(path, ignore_errors=True)
    subprocess.run(["cp", "-a", "--reflink=auto", str(base), str(path)], check=True)
    for file in ("resolv.conf", "hosts"):
        if Path("/etc", file).is_file():
            shutil.copy(Path("/etc", file), path / "etc" / file)
    made = Root(path)
    made.run(["useradd", "--create-home", "--uid", str(UID), "--shell", "/bin/bash", USER])
    return made

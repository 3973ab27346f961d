"""After PyInstaller: strip the bundle, give it its names, its papers and one date, and say what takes the space.

finish.py BUNDLE --papers DIR --links NAME ... [--epoch SECONDS]
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

ELF = b"\x7fELF"


def files(folder: Path) -> Iterator[Path]:
    """Regular files, in a fixed order."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink():
            yield path


def elf_files(folder: Path) -> Iterator[Path]:
    """Programs and shared libraries."""
    for path in files(folder):
        with path.open("rb") as file:
            if file.read(4) == ELF:
                yield path


def strip(bundle: Path) -> int:
    """Remove symbols that only debuggers want; bytes saved. The program carries its modules: it is left alone."""
    saved = 0
    for path in elf_files(bundle / "_internal"):
        if path.parent.name.endswith(".libs"):
            continue  # wheels' own libraries, whose sections patchelf has moved: strip breaks them
        before = path.stat().st_size
        subprocess.run(
            ["strip", "--strip-unneeded", "-p", str(path)], check=True, capture_output=True
        )
        saved += before - path.stat().st_size
    return saved


def link_names(bundle: Path, program: str, names: Sequence[str]) -> None:
    """Further names of the one program, which looks at how it was called."""
    for name in names:
        (bundle / name).unlink(missing_ok=True)
        (bundle / name).symlink_to(program)


def forget_place(bundle: Path) -> None:
    """Take out of the wheels' metadata what depends on the folder they were installed in: their scripts, our source."""
    for record in sorted(bundle.glob("_internal/*.dist-info/RECORD")):
        lines = record.read_text("utf-8").splitlines(keepends=True)
        elsewhere = ("../", record.parent.name + "/direct_url.json")
        record.write_text("".join(x for x in lines if not x.startswith(elsewhere)), "utf-8")
        (record.parent / "direct_url.json").unlink(missing_ok=True)


def one_date(folder: Path, epoch: int) -> None:
    """Every file and folder: the same date, and modes that do not depend on who built it."""
    for path in sorted(folder.rglob("*"), reverse=True):
        if not path.is_symlink():
            executable = path.is_dir() or path.stat().st_mode & 0o100
            path.chmod(0o755 if executable else 0o644)
        os.utime(path, (epoch, epoch), follow_symlinks=False)
    os.utime(folder, (epoch, epoch))


def space(bundle: Path, rows: int = 22) -> list[tuple[str, float]]:
    """MB by package, largest first; the rest as one row."""
    count: Counter[str] = Counter()
    for path in files(bundle):
        parts = path.relative_to(bundle).parts
        name = parts[0] if len(parts) == 1 else parts[1]
        if name.startswith("lib") and ".so" in name:
            name = "libraries of the system (X11, fonts, SSL, ...)"
        if len(parts) == 1:
            name = "the program: Python modules"
        count[name] += path.stat().st_size
    most = [(name, size / 1e6) for name, size in count.most_common(rows)]
    return [*most, ("everything else", (sum(count.values()) / 1e6) - sum(size for _, size in most))]


def main() -> None:
    """Finish a bundle in place."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--papers", type=Path, required=True, help="folder whose files go in")
    parser.add_argument("--program", default="tacita")
    parser.add_argument("--links", nargs="*", default=[])
    parser.add_argument("--epoch", type=int, default=int(os.environ.get("SOURCE_DATE_EPOCH", "0")))
    options = parser.parse_args()
    print(f"stripped: {strip(options.bundle) / 1e6:.0f} MB less")
    forget_place(options.bundle)
    link_names(options.bundle, options.program, options.links)
    for paper in files(options.papers):
        shutil.copy(paper, options.bundle)
    one_date(options.bundle, options.epoch)
    for name, size in space(options.bundle):
        print(f"{size:8.1f} MB  {name}")
    print(f"{sum(p.stat().st_size for p in files(options.bundle)) / 1e6:8.1f} MB  together")


if __name__ == "__main__":
    main()

"""Wrap a finished bundle as a Debian package.

    deb.py client|server BUNDLE --out DIR --version VERSION [--revision N] [--compress xz|xz-quick|zstd|fast]

Depends are worked out from the files themselves (dpkg-shlibdeps); the same input and date give the same bytes.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from finish import elf_files, files, one_date
from reachable import needed_libraries

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
ICON_SIZES = (16, 22, 24, 32, 48, 64, 128, 256, 512)
COMPRESSIONS = {
    "xz": ["-Zxz", "-z6"],
    "xz-quick": ["-Zxz", "-z1"],
    "zstd": ["-Zzstd", "-z19"],
    "fast": ["-Zzstd", "-z3"],
}
MAINTAINER = os.environ.get(
    "TACITA_MAINTAINER", "The Tacita developers <maintainers@tacita.invalid>"
)

DEPENDS = {
    # Found by dpkg-shlibdeps: the C library, OpenGL, X11 and Wayland. What no file asks the loader for stands here.
    "client": [
        "ca-certificates",
        "fontconfig-config",
        "fonts-dejavu-core | fonts-freefont-ttf",
        "xkb-data",
    ],
    "server": ["ca-certificates"],
}
RECOMMENDS = {
    "client": ["dbus-user-session | dbus-x11", "gnome-keyring | kwalletmanager | keepassxc"],
    "server": [],
}
SUMMARY = {
    "client": (
        "chat with a language model that never hears you",
        "Your computer keeps the prompt, the keys and the small non-linear part of the\n"
        " model; a server that you need not trust keeps the weights and does every large\n"
        " matrix product on ciphertexts.\n .\n"
        " This package holds the chat window, the command line and an embedded server\n"
        " for the first steps, with all libraries that they need.",
    ),
    "server": (
        "serve language models to clients that encrypt everything they send",
        "The other half of Tacita: it keeps the weights, multiplies ciphertexts, and\n"
        " learns how much its users talk, not what they say.\n .\n"
        " This package holds the server and a systemd unit, with all libraries that they\n"
        " need, for computing on CPUs.",
    ),
}


@dataclass(frozen=True)
class Package:
    """What is wrapped: `kind` is "client" or "server", `version` Debian's (upstream-revision)."""

    kind: str
    version: str
    epoch: int

    @property
    def name(self) -> str:
        """The package's name."""
        return "tacita" if self.kind == "client" else "tacita-server"

    @property
    def date(self) -> str:
        """The build's date."""
        return datetime.fromtimestamp(self.epoch, UTC).strftime("%Y-%m-%d")


def fill(template: Path, package: Package) -> str:
    """A template's text with the package's version and date."""
    text = template.read_text("utf-8")
    upstream = package.version.rpartition("-")[0]
    values = {"DEBIAN_VERSION": package.version, "VERSION": upstream, "DATE": package.date,
              "PACKAGE": package.name}  # fmt: skip
    for name, value in values.items():
        text = text.replace(f"@{name}@", value)
    return text


def place(path: Path, content: str | bytes, mode: int = 0o644) -> None:
    """Write a file of the package."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    path.chmod(mode)


def zipped(text: str) -> bytes:
    """gzip without a date."""
    return gzip.compress(text.encode(), mtime=0)


def draw_icons(folder: Path) -> None:
    """The icon set of the freedesktop theme, drawn from the SVG."""
    source = ROOT / "resources/icons/app-colour.svg"
    for size in ICON_SIZES:
        target = folder / f"{size}x{size}/apps/tacita.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["rsvg-convert", "-w", str(size), "-h", str(size), "-o", str(target), str(source)],
                       check=True)  # fmt: skip
    place(folder / "scalable/apps/tacita.svg", source.read_bytes())


def lay_out_client(tree: Path, package: Package) -> None:
    """Everything of the desktop package but the bundle."""
    share = tree / "usr/share"
    place(share / "applications/tacita.desktop", (HERE / "debian/tacita.desktop").read_bytes())
    metainfo = fill(HERE / "debian/org.tacita.Tacita.metainfo.xml", package)
    place(share / "metainfo/org.tacita.Tacita.metainfo.xml", metainfo)
    page = zipped(fill(HERE / "debian/tacita.1", package))
    place(share / "man/man1/tacita.1.gz", page)
    (share / "man/man1/tacita-app.1.gz").symlink_to("tacita.1.gz")
    draw_icons(share / "icons/hicolor")
    link_programs(tree, "tacita", ("tacita", "tacita-app"))


def server_settings(bundle: Path) -> str:
    """The settings file, from the very program that will read it: every setting, explained, with its default."""
    done = subprocess.run(
        [bundle / "tacita-server", "config"], check=True, capture_output=True, text=True
    )
    return done.stdout


def proxy_examples() -> dict[str, str]:
    """Reverse proxies in front of the server: the texts of the operator's guide, of which a test starts nginx's."""
    guide = (ROOT / "docs/operating.md").read_text("utf-8")
    blocks = re.findall(r"^```\w*\n(.*?)^```", guide, re.M | re.S)
    marks = {"nginx.conf": "proxy_pass ", "Caddyfile": "reverse_proxy "}
    return {name: next(b for b in blocks if mark in b) for name, mark in marks.items()}


def lay_out_server(tree: Path, package: Package) -> None:
    """Everything of the server's package but the bundle."""
    place(
        tree / "lib/systemd/system/tacita-server.service",
        (HERE / "server/tacita-server.service").read_bytes(),
    )
    place(tree / "etc/tacita/server.toml", server_settings(tree / "usr/lib" / package.name))
    page = zipped(fill(HERE / "server/tacita-server.8", package))
    place(tree / "usr/share/man/man8/tacita-server.8.gz", page)
    for name, text in proxy_examples().items():
        place(tree / "usr/share/doc/tacita-server/examples" / name, text)
    link_programs(tree, "tacita-server", ("tacita-server",))


def link_programs(tree: Path, bundle: str, names: tuple[str, ...]) -> None:
    """The commands: links into the bundle, whose loader follows them."""
    (tree / "usr/bin").mkdir(parents=True, exist_ok=True)
    for name in names:
        (tree / "usr/bin" / name).symlink_to(f"../lib/{bundle}/{name}")


def copyright_file(bundle: Path) -> str:
    """Debian's copyright file: ours, and where those of the parts are."""
    return (
        "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n"
        "Upstream-Name: Tacita\n"
        "Comment: The package bundles free libraries. Each is listed below with its version and licence; the texts\n"
        " are in THIRD-PARTY-LICENCES.txt.gz beside this file. Zama's libraries, free for non-commercial use only,\n"
        " are not part of it.\n\n"
        "Files: *\nCopyright: The Tacita developers\nLicense: Apache-2.0\n\n"
        "License: Apache-2.0\n On Debian systems the full text is in /usr/share/common-licenses/Apache-2.0.\n\n"
        + "".join(f"# {line}\n" for line in (bundle / "LICENCES.txt").read_text().splitlines())
    )


def documents(tree: Path, bundle: Path, package: Package) -> None:
    """Copyright, changelog, SBOM and licences under /usr/share/doc; they leave the bundle itself."""
    folder = tree / "usr/share/doc" / package.name
    place(folder / "copyright", copyright_file(bundle))
    place(folder / "changelog.gz", zipped((ROOT / "CHANGELOG.md").read_text("utf-8")))
    place(folder / "changelog.Debian.gz", zipped(debian_changelog(package)))
    place(
        folder / "THIRD-PARTY-LICENCES.txt.gz",
        zipped((bundle / "THIRD-PARTY-LICENCES.txt").read_text("utf-8")),
    )
    place(folder / "sbom.cdx.json", (bundle / "sbom.cdx.json").read_bytes())
    place(
        tree / "usr/share/lintian/overrides" / package.name,
        fill(HERE / "debian/lintian-overrides", package),
    )


def debian_changelog(package: Package) -> str:
    """One entry: the real one is CHANGELOG.md."""
    date = datetime.fromtimestamp(package.epoch, UTC).strftime("%a, %d %b %Y %H:%M:%S +0000")
    return (
        f"{package.name} ({package.version}) unstable; urgency=medium\n\n"
        f"  * See changelog.gz.\n\n -- {MAINTAINER}  {date}\n"
    )


def owners_of(library: str) -> set[str]:
    """The installed Debian packages that have a library of that file name."""
    done = subprocess.run(
        ["dpkg", "-S", f"*/{library}"], capture_output=True, text=True, check=False
    )
    return {line.split(": ")[0].partition(":")[0] for line in done.stdout.splitlines()}


def outside_libraries(bundle: Path) -> set[str]:
    """Names that files of the bundle ask the loader for, and that are not in it."""
    elf = list(elf_files(bundle))
    asked = {name for path in elf for name in needed_libraries(str(path))}
    return asked - {path.name for path in bundle.rglob("*.so*")}


def shared_library_depends(bundle: Path) -> list[str]:
    """The Debian packages that the bundle asks for libraries which it does not have, with their least versions.

    dpkg-shlibdeps knows the versions, but names the packages of bundled libraries too: those are taken out.
    """
    private = sorted({str(path.parent) for path in elf_files(bundle) if ".so" in path.name})
    with tempfile.TemporaryDirectory() as folder:
        place(
            Path(folder) / "debian/control",
            "Source: tacita\n\nPackage: tacita\nArchitecture: amd64\n",
        )
        command = ["dpkg-shlibdeps", "-O", "--ignore-missing-info", "--warnings=0"]
        command += [f"-l{path}" for path in private]
        command += [f"-e{path}" for path in elf_files(bundle)]
        done = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
    found = done.stdout.strip().removeprefix("shlibs:Depends=").split(",")
    wanted = {owner for name in outside_libraries(bundle) for owner in owners_of(name)}
    return sorted(item.strip() for item in found if item.split()[0] in wanted)


def control(package: Package, depends: list[str], size_kib: int) -> str:
    """The package's control file."""
    summary, description = SUMMARY[package.kind]
    recommends = RECOMMENDS[package.kind]
    return (
        f"Package: {package.name}\nVersion: {package.version}\nArchitecture: amd64\nMaintainer: {MAINTAINER}\n"
        f"Installed-Size: {size_kib}\nDepends: {', '.join(depends)}\n"
        + (f"Recommends: {', '.join(recommends)}\n" if recommends else "")
        + f"Section: net\nPriority: optional\nDescription: {summary}\n {description}\n"
    )


def scripts(package: Package) -> Iterator[tuple[str, str]]:
    """Maintainer scripts of the package by name."""
    yield "preinst", fill(HERE / "debian/preinst", package)
    folder = HERE / ("debian" if package.kind == "client" else "server")
    for name in ("postinst", "prerm", "postrm"):
        if (folder / name).is_file():
            yield name, fill(folder / name, package)


def write_control(tree: Path, package: Package, depends: list[str]) -> None:
    """The DEBIAN folder."""
    control_folder = tree / "DEBIAN"
    content = [path for path in files(tree) if control_folder not in path.parents]
    sums = "".join(
        f"{hashlib.md5(p.read_bytes()).hexdigest()}  {p.relative_to(tree)}\n" for p in content
    )
    size = sum((path.stat().st_size + 1023) // 1024 for path in content)
    place(control_folder / "md5sums", sums)
    place(control_folder / "control", control(package, depends, size))
    for name, text in scripts(package):
        place(control_folder / name, text, 0o755)
    if package.kind == "server":
        place(control_folder / "conffiles", "/etc/tacita/server.toml\n")


def build(package: Package, bundle: Path, out: Path, compress: str) -> Path:
    """Lay out, describe, pack; the package's path."""
    out.mkdir(parents=True, exist_ok=True)
    target = out / f"{package.name}_{package.version}_amd64.deb"
    with tempfile.TemporaryDirectory(dir=out, prefix=".deb-") as folder:
        tree = Path(folder) / "tree"
        place_bundle = tree / "usr/lib" / package.name
        shutil.copytree(bundle, place_bundle, symlinks=True, copy_function=os.link)
        for name in ("LICENCES.txt", "THIRD-PARTY-LICENCES.txt", "sbom.cdx.json"):
            (place_bundle / name).unlink()
        (place_bundle / "tacita-server").unlink(
            missing_ok=True
        ) if package.kind == "client" else None
        {"client": lay_out_client, "server": lay_out_server}[package.kind](tree, package)
        documents(tree, bundle, package)
        depends = sorted([*shared_library_depends(place_bundle), *DEPENDS[package.kind]])
        write_control(tree, package, depends)
        one_date(tree, package.epoch)
        command = [
            "dpkg-deb",
            "--root-owner-group",
            *COMPRESSIONS[compress],
            "--build",
            str(tree),
            str(target),
        ]
        environment = {**os.environ, "SOURCE_DATE_EPOCH": str(package.epoch)}
        subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
    print(f"{target.name}: {target.stat().st_size / 1e6:.1f} MB\nDepends: {', '.join(depends)}")
    return target


def main() -> None:
    """Build one package."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=("client", "server"))
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--version", required=True)
    parser.add_argument("--revision", default="1")
    parser.add_argument("--compress", choices=sorted(COMPRESSIONS), default="xz")
    parser.add_argument("--epoch", type=int, default=int(os.environ.get("SOURCE_DATE_EPOCH", "0")))
    options = parser.parse_args()
    package = Package(options.kind, f"{options.version}-{options.revision}", options.epoch)
    build(package, options.bundle.resolve(), options.out.resolve(), options.compress)


if __name__ == "__main__":
    main()

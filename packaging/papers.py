"""The papers of a bundle: an SBOM (CycloneDX JSON), the list of licences, and the licences themselves.

    papers.py CONTENTS.json REQUIREMENTS.txt --out DIR --name NAME --version VERSION

CONTENTS.json is what tacita.spec wrote: every file that went in, and where it came from. Each is traced to the Python
distribution or the Debian package that owns it, so the lists say what is in the bundle, not what lay around it.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import Distribution, distributions
from pathlib import Path

INTERPRETER = "PyInstaller's loader (GPL-2.0-or-later with an exception for bundles)"
_NAME = re.compile(r"[-_.]+")


@dataclass(frozen=True)
class Part:
    """One distribution or package in the bundle."""

    name: str
    version: str
    kind: str
    licence: str
    texts: tuple[Path, ...] = ()
    hashes: tuple[str, ...] = field(default=())

    @property
    def purl(self) -> str:
        """Its package URL."""
        if self.kind == "deb":
            return f"pkg:deb/debian/{self.name}@{self.version}?arch=amd64"
        return f"pkg:pypi/{self.name}@{self.version.partition('+')[0]}"


def normal(name: str) -> str:
    """A distribution's name as indexes write it."""
    return _NAME.sub("-", name).lower()


def locked_hashes(text: str) -> dict[str, tuple[str, ...]]:
    """SHA-256 of the wheels by distribution, from a requirements file with hashes."""
    found: dict[str, tuple[str, ...]] = {}
    for line in text.replace("\\\n", " ").splitlines():
        if match := re.match(r"([A-Za-z0-9._-]+)==", line):
            found[normal(match[1])] = tuple(re.findall(r"--hash=sha256:([0-9a-f]{64})", line))
    return found


def owners() -> dict[str, Distribution]:
    """Every installed file's distribution."""
    found = {}
    for distribution in distributions():
        folder = os.path.realpath(str(distribution.locate_file("")))
        for file in distribution.files or ():
            found[os.path.normpath(os.path.join(folder, str(file)))] = distribution
    return found


def licence_of(distribution: Distribution) -> str:
    """An SPDX expression where there is one, else what the package calls it."""
    meta = distribution.metadata
    if expression := meta.get("License-Expression"):
        return str(expression)
    classified = [
        c.rpartition(" :: ")[2] for c in meta.get_all("Classifier") or () if c.startswith("License")
    ]
    text = str(meta.get("License") or "").strip().splitlines()
    return (
        (text[0][:80] if text and len(text[0]) < 80 else "")
        or ", ".join(classified)
        or "see its text"
    )


def licence_texts(distribution: Distribution) -> tuple[Path, ...]:
    """The licence files that a distribution brings."""
    pattern = re.compile(r"(^|/)(licen[cs]es?/.+|(licen[cs]e|copying|notice|authors)[^/]*)$", re.I)
    found = [
        Path(str(distribution.locate_file(f)))
        for f in distribution.files or ()
        if ".dist-info/" in str(f) and pattern.search(str(f))
    ]
    return tuple(sorted(path for path in found if path.is_file()))


def debian_owners(paths: Iterable[str]) -> dict[str, str]:
    """The Debian package of each file of the system, from dpkg's lists (asking dpkg takes minutes)."""
    forms = {form: path for path in paths for form in (path, path.removeprefix("/usr"))}
    found = {}
    for listed in sorted(Path("/var/lib/dpkg/info").glob("*.list")):
        for line in listed.read_text("utf-8", "replace").splitlines():
            if line in forms:
                found[forms[line]] = listed.stem.partition(":")[0]
    return found


def debian_part(name: str) -> Part:
    """A Debian package as a part."""
    version = subprocess.run(
        ["dpkg-query", "-W", "-f", "${Version}\n", name], capture_output=True, text=True, check=True
    ).stdout.splitlines()[0]
    text = Path("/usr/share/doc") / name / "copyright"
    return Part(name, version, "deb", "see its text", (text,) if text.is_file() else ())


def collect(
    sources: Iterable[str], hashes: Mapping[str, tuple[str, ...]]
) -> tuple[list[Part], list[str]]:
    """The parts that own the files, by kind and name, and the files that nothing owns."""
    owner, parts, unknown = owners(), {}, []
    found: dict[str, Distribution] = {}
    ours = str(Path(__file__).resolve().parents[1])
    every = sorted({os.path.realpath(s) for s in sources if s})
    debian = debian_owners(s for s in every if s not in owner and not s.startswith(ours))
    for name in sorted(set(debian.values())):
        parts[f"deb:{name}"] = debian_part(name)
    for source in every:
        if distribution := owner.get(source):
            found[normal(distribution.name)] = distribution
        elif source not in debian and not source.startswith(ours):
            unknown.append(source)
    for name, distribution in found.items():
        texts, licence = licence_texts(distribution), licence_of(distribution)
        wheel = hashes.get(name, ())
        parts[name] = Part(name, distribution.version, "pypi", licence, texts, wheel)
    return sorted(parts.values(), key=lambda part: (part.kind, part.name)), unknown


def sbom(parts: Iterable[Part], name: str, version: str, epoch: int) -> dict[str, object]:
    """A CycloneDX 1.6 document; the same parts give the same bytes."""
    components = []
    for part in parts:
        component: dict[str, object] = {
            "type": "library", "bom-ref": part.purl, "name": part.name, "version": part.version,
            "purl": part.purl, "licenses": [{"license": {"name": part.licence}}],
        }  # fmt: skip
        if part.hashes:
            component["hashes"] = [{"alg": "SHA-256", "content": value} for value in part.hashes]
        components.append(component)
    seed = json.dumps(components, sort_keys=True) + version
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, seed)}",
        "version": 1,
        "metadata": {
            "timestamp": datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "component": {"type": "application", "bom-ref": name, "name": name, "version": version,
                          "licenses": [{"license": {"id": "Apache-2.0"}}]},
        },
        "components": components,
    }  # fmt: skip


def table(parts: Iterable[Part]) -> str:
    """The list of what is bundled and under which licence."""
    rows = [f"{p.name:<28} {p.version:<26} {p.kind:<5} {p.licence}" for p in parts]
    head = (
        "What this bundle is made of, and under which licence. The texts are in THIRD-PARTY-LICENCES.txt.\n"
        "Tacita itself: Apache-2.0. Zama's libraries (concrete-ml-extensions) are free for non-commercial use only,\n"
        f"and are not part of it. Also inside: {INTERPRETER}.\n"
        "Qt (LGPL-3.0) lies in _internal/PySide6 as shared libraries, which may be replaced.\n"
    )
    return head + "\n" + "\n".join(rows) + "\n"


def all_texts(parts: Iterable[Part]) -> str:
    """Every licence text once, with the parts that it belongs to."""
    by_text: dict[str, list[str]] = {}
    for part in parts:
        for path in part.texts:
            text = path.read_text("utf-8", "replace").strip()
            by_text.setdefault(text, []).append(f"{part.name} {part.version} ({path.name})")
    line = "=" * 100
    return "\n\n".join(
        f"{line}\n{'; '.join(names)}\n{line}\n\n{text}" for text, names in by_text.items()
    )


def main() -> int:
    """Write the three papers; fails on a file in the bundle whose origin is not known."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("contents", type=Path)
    parser.add_argument("requirements", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--version", required=True)
    options = parser.parse_args()
    sources = json.loads(options.contents.read_text())
    parts, unknown = collect(sources, locked_hashes(options.requirements.read_text()))
    epoch = int(os.environ.get("SOURCE_DATE_EPOCH", "0"))
    options.out.mkdir(parents=True, exist_ok=True)
    document = sbom(parts, options.name, options.version, epoch)
    (options.out / "sbom.cdx.json").write_text(json.dumps(document, indent=1) + "\n")
    (options.out / "LICENCES.txt").write_text(table(parts))
    (options.out / "THIRD-PARTY-LICENCES.txt").write_text(all_texts(parts))
    print(
        f"{len(parts)} parts, {sum(1 for p in parts if not p.texts)} without a licence text of their own"
    )
    for source in unknown:
        print(f"papers: nobody owns {source}", file=sys.stderr)
    return 1 if unknown else 0


if __name__ == "__main__":
    sys.exit(main())

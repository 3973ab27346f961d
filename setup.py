"""All that pyproject.toml cannot say: the icons and translations in resources/ become app/resources of a wheel."""

from __future__ import annotations

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

SUFFIXES = (".svg", ".qm")


class BuildWithResources(build_py):
    """Copies resources/ beside app/resources.py, which looks there. An editable install uses the folder as it is."""

    def run(self) -> None:
        """Build the modules, then copy."""
        super().run()
        if not self.editable_mode:
            for source, target in self.resources():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, target)

    def resources(self) -> list[tuple[Path, Path]]:
        """Each file and where it goes."""
        folder = Path("resources")
        target = Path(self.build_lib) / "app" / "resources"
        return [
            (path, target / path.relative_to(folder))
            for path in sorted(folder.rglob("*"))
            if path.suffix in SUFFIXES
        ]

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        """Every file that a build makes."""
        more = [] if self.editable_mode else [str(target) for _, target in self.resources()]
        return [*super().get_outputs(include_bytecode), *more]


setup(cmdclass={"build_py": BuildWithResources})

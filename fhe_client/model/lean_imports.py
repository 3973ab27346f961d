"""Imports the parts of transformers that build a language model, and leaves the rest of it unread.

`import transformers` looks through a thousand files to learn which names it has, and its model classes pull in torch's
compiler, its distributed tensors and sympy: half of the seconds that a start takes, for what a client on one processor
never runs (docs/decisions/0017-a-start-in-order.md). So, where transformers is not imported yet:

- the packages `transformers` and `transformers.models` begin without their names. Their modules are imported as usual;
  the first name that is asked of a package itself runs its real beginning;
- torch counts as built without `torch.distributed`, as it is on some systems;
- while model classes are imported, torch's compiler is a stand-in whose decorators do nothing. It is gone afterwards,
  and whoever asks it for more meanwhile gets the real one.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
import threading
from collections.abc import Callable, Iterator
from importlib.machinery import ModuleSpec
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec, module_from_spec
from types import ModuleType
from typing import Any

_PACKAGE = "transformers"
_COMPILER = "torch._dynamo"
_INDEXING = f"{_COMPILER}._trace_wrapped_higher_order_op"
_lock = threading.RLock()  # between threads that prepare or open the package
_placing = threading.Lock()  # held for a moment only, never while something is imported
_inside: list[int] = []


class _Unopened(ModuleType):
    """A package whose own code has not run: it has modules, and runs its code when it is asked for anything else."""

    def __init__(self, spec: ModuleSpec) -> None:
        super().__init__(spec.name)
        self.__spec__, self.__loader__ = spec, spec.loader
        self.__file__, self.__package__ = spec.origin, spec.name
        self.__path__ = list(spec.submodule_search_locations or ())

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # asked by those who look at all modules
            raise AttributeError(name)
        with _lock:
            if sys.modules.get(self.__name__) is self:
                _open(self)
            return getattr(sys.modules[self.__name__], name)


def _open(package: _Unopened) -> None:
    spec = package.__spec__
    assert spec is not None
    assert spec.loader is not None
    sys.modules[package.__name__] = whole = module_from_spec(spec)
    try:
        spec.loader.exec_module(whole)  # puts an object of its own into sys.modules
    except BaseException:
        sys.modules[package.__name__] = package
        raise


class _NoCompiler(ModuleType):
    """In the place of torch's compiler: the decorators that mark functions for it."""

    def __init__(self) -> None:
        super().__init__(_COMPILER)
        self.__path__: list[str] = []
        self.disable = self.assume_constant_result = self.allow_in_graph = _unmarked

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        _take_away()
        return getattr(importlib.import_module(_COMPILER), name)


def _unmarked(function: Any = None, *_args: Any, **_options: Any) -> Any:
    return _unmarked if function is None else function


def _indexing(*args: Any) -> Any:
    """The real `TransformGetItemToIndex`, imported when it is called."""
    found: Callable[..., Any] = importlib.import_module(_INDEXING).TransformGetItemToIndex
    return found(*args)


def _take_away() -> None:
    if isinstance(sys.modules.get(_COMPILER), _NoCompiler):
        del sys.modules[_COMPILER]
        sys.modules.pop(_INDEXING, None)


@contextlib.contextmanager
def without_compiler() -> Iterator[None]:
    """Model classes that are imported inside do not import torch's compiler. Nothing happens where it is there.

    Several threads may be inside; the last one to leave takes the stand-in away.
    """
    _inside.append(1)
    with _placing:
        if _COMPILER not in sys.modules:
            indexing = ModuleType(_INDEXING)
            indexing.TransformGetItemToIndex = _indexing  # type: ignore[attr-defined]
            sys.modules[_INDEXING], sys.modules[_COMPILER] = indexing, _NoCompiler()
    try:
        yield
    finally:
        with _placing:
            _inside.pop()
            if not _inside:
                _take_away()


def prepare_transformers() -> None:
    """Do what the module's text says. Nothing happens where transformers was imported before."""
    with _lock:
        if _PACKAGE in sys.modules:
            return
        try:
            number = version(_PACKAGE)
        except (
            PackageNotFoundError
        ):  # a bundle without its papers: the package knows its version itself
            return
        package = _place(_PACKAGE)
        package.__version__ = number  # type: ignore[attr-defined]
        package.models = _place(f"{_PACKAGE}.models")  # type: ignore[attr-defined]
        for name in (f"{_PACKAGE}.utils.import_utils", f"{_PACKAGE}.utils"):
            module: Any = importlib.import_module(name)
            module.is_torch_distributed_available = _no
            module.direct_transformers_import = _the_package


def _place(name: str) -> _Unopened:
    spec = find_spec(name)
    if spec is None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    sys.modules[name] = package = _Unopened(spec)
    return package


def _no() -> bool:
    return False


def _the_package(_folder: Any, _file: str = "") -> ModuleType:
    """For modules that would run the package's code once more, only to have its names at hand."""
    return sys.modules[_PACKAGE]

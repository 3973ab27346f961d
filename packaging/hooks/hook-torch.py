"""Replaces PyInstaller's hook for torch: modules that are reached by imports, shared libraries, and nothing else.

The usual one collects every module and every source file: 250 MB more.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

from PyInstaller.utils.hooks import collect_dynamic_libs, collect_submodules

module_collection_mode = "pyz"
warn_on_missing_hiddenimports = False
binaries = collect_dynamic_libs("torch", search_patterns=["*.dll", "*.dylib", "*.so", "*.so.*"])
# torch looks for it when it is imported, though nothing here shares tensors between processes.
manager = Path(find_spec("torch").origin).parent / "bin" / "torch_shm_manager"
if sys.platform != "win32":
    binaries.append((str(manager), "torch/bin"))
bindepend_symlink_suppression = ["**/torch/lib/*.so*"]
# Imported by name at run time: leaving these out fails only then.
hiddenimports = [
    "torch._dynamo",
    *collect_submodules("torch._dynamo.polyfills"),
    "torch._inductor.config",
    "torch.distributed",
    "torch.distributed.tensor",
    "torch.testing._internal.common_dtype",
    "torch.testing._internal.logging_tensor",
    "torch.testing._internal.distributed.fake_pg",
]

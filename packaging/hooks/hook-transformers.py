"""Replaces PyInstaller's hook for transformers: metadata that it asks for, and the sources that it lists at import.

`transformers.models` finds out which names a module has by reading its source file, so the files must be on disk.
"""

from __future__ import annotations

from contextlib import suppress

from PyInstaller.utils.hooks import copy_metadata

module_collection_mode = "pyz+py"
datas = []
for name in (
    "accelerate filelock huggingface-hub numpy packaging pyyaml regex requests safetensors tokenizers torch tqdm gguf "
    "psutil jinja2 transformers"
).split():
    with suppress(Exception):
        datas += copy_metadata(name)

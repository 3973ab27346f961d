"""What goes into the desktop bundle and what stays out, with the reasons. Data only, for the spec and for tests."""

from __future__ import annotations

FAMILIES = (
    "apertus arcee biogpt bloom codegen cohere cohere2 cwm diffllama ernie4_5 exaone exaone4 falcon gemma gemma2 "
    "gemma3 glm glm4 gpt2 gpt_bigcode gpt_neo gpt_neox gptj granite helium hunyuan_v1_dense internlm3 jais2 llama "
    "minicpm3 ministral ministral3 mistral mpt nanochat nemotron olmo olmo2 olmo3 openai opt persimmon phi phi3 qwen2 "
    "qwen3 seed_oss smollm3 stablelm starcoder2 vaultgemma xglm"
).split()
"""Folders of transformers.models: text decoders with ordinary attention. Import refuses the others for what they are
(mixtures of experts, state-space models, encoder-decoders), so a bundle needs no code of theirs."""

MODEL_HELPERS = ("auto", "encoder_decoder")
"""Folders that every family needs: transformers imports them by itself."""

EXCLUDED = {
    # Development and other windows
    "tkinter": "another window toolkit",
    "IPython": "interactive work",
    "matplotlib": "plots: torch and sympy ask for it only to draw",
    "pytest": "tests",
    "setuptools": "builds packages",
    "pkg_resources": "builds packages",
    "wheel": "builds packages",
    "torch.utils.tensorboard": "training",
    "torch.utils.benchmark": "measures kernels",
    "torch.utils.bottleneck": "measures kernels",
    # Compilers: nothing here is compiled at run time
    "triton": "GPU compiler",
    "torch._inductor.codegen": "code generators of torch.compile",
    "torch._inductor.kernel": "code generators of torch.compile",
    "torch._inductor.fx_passes": "passes of torch.compile",
    "torch._inductor.autoheuristic": "passes of torch.compile",
    "torch._inductor.compile_worker": "workers of torch.compile",
    "torch.utils.cpp_extension": "compiles C++",
    "torch.utils.hipify": "translates CUDA sources",
    # Tests inside the packages
    "torch.testing._internal.opinfo": "torch's tests",
    "torch.testing._internal.common_methods_invocations": "torch's tests",
    "torch.testing._internal.common_modules": "torch's tests",
    "torch.testing._internal.common_nn": "torch's tests",
    "torch.testing._internal.common_quantization": "torch's tests",
    "torch.testing._internal.distributed.rpc": "torch's tests",
    "torch.testing._internal.distributed.distributed_test": "torch's tests",
    "torch.testing._internal.generated": "torch's tests",
    "torch.testing._internal.codegen": "torch's tests",
    "sympy.testing": "sympy's tests",
    "numpy.f2py": "compiles Fortran",
    "numpy.testing": "numpy's tests",
    "transformers.testing_utils": "transformers' tests",
    # Parts of the libraries that a chat has no use for
    "torch.distributed.pipelining": "training on many machines",
    "torch.distributed._tools": "training on many machines",
    "torch.onnx._internal": "export to ONNX",
    "transformers.cli": "transformers' command line",
    "transformers.pipelines": "other tasks than writing text",
    "transformers.exporters": "export to other formats",
    "transformers.trainer": "training",
    "transformers.trainer_seq2seq": "training",
    "transformers.data": "training",
    "accelerate.test_utils": "accelerate's tests",
    "gguf.gguf_writer": "writes model files",
    "concrete_ml_extensions": "free for non-commercial use only, so never part of what we hand out",
    "PySide6.QtQml": "the window is made of widgets",
    "PySide6.QtQuick": "the window is made of widgets",
}
"""Modules, with all below them, that PyInstaller would follow imports to."""

CLIENT_ONLY = (
    "app",
    "fhe_client",
    "PySide6",
    "shiboken6",
    "keyring",
    "secretstorage",
    "argon2",
    "apsw",
)
"""What the server's own bundle leaves out: it can hold no secret and shows no window."""

SOURCES_NEEDED = (
    "torch/_dynamo/config.py",
    "torch/_export/config.py",
    "torch/_functorch/config.py",
    "torch/_inductor/config.py",
    "torch/_inductor/config_comms.py",
    "torch/compiler/config.py",
    "torch/distributed/config.py",
    "torch/functional.py",
    "torch/fx/experimental/_config.py",
    "torch/nn/functional.py",
    "torch/nn/modules/rnn.py",
    "torch/utils/serialization/config.py",
)
"""Modules whose source text is read when they are imported (torch.utils._config_module, torch.jit._overload)."""

QT_PLUGINS = (
    "platforms/libqxcb.so platforms/libqwayland.so platforms/libqoffscreen.so platforms/libqminimal.so "
    "xcbglintegrations/libqxcb-egl-integration.so xcbglintegrations/libqxcb-glx-integration.so "
    "wayland-shell-integration/libxdg-shell.so wayland-graphics-integration-client/libqt-plugin-wayland-egl.so "
    "wayland-decoration-client/libbradient.so wayland-decoration-client/libadwaita.so "
    "platforminputcontexts/libcomposeplatforminputcontextplugin.so "
    "platforminputcontexts/libibusplatforminputcontextplugin.so platformthemes/libqxdgdesktopportal.so "
    "iconengines/libqsvgicon.so imageformats/libqsvg.so"
).split()
"""Qt plugins kept on Linux: X11, Wayland and no screen, input methods, portals, SVG. On other systems all are kept."""

QT_TRANSLATIONS = ("qtbase_de.qm",)
"""Of Qt's own texts, the languages that Tacita speaks besides English."""

LIBRARIES_LEFT_OUT = (
    "libcudart.so libtorchbind_test.so libjitbackend_test.so libbackend_with_compiler.so libaoti_custom_ops.so "
    "libQt6Qml.so.6 libQt6QmlModels.so.6 libQt6QmlMeta.so.6 libQt6QmlWorkerScript.so.6 libQt6Quick.so.6 "
    "libQt6VirtualKeyboard.so.6 libQt6EglFSDeviceIntegration.so.6 libQt6EglFsKmsSupport.so.6 libQt6Pdf.so.6"
).split()
"""Libraries of torch's tests, and of Qt plugins that are not kept."""

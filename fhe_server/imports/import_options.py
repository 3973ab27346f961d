"""The choices that an artefact depends on."""

from __future__ import annotations

from dataclasses import dataclass

from fhe_protocol.parameters import HINT_1024_24
from fhe_server.imports.calibration_text import BUILTIN
from fhe_server.imports.noise import DEFAULT_MAX_ERROR


@dataclass(frozen=True)
class ImportOptions:
    """What an artefact depends on besides the checkpoint.

    Attributes:
        local: layers the client computes itself: "embed", "lm_head", patterns of module names.
        max_error: largest predicted error (noise and rounding) over the norm of a group's output.
        equalise: let int8 rows be shorter than a peak of 127 where that lowers the total error.
        rotate: mix the inputs of linear groups by Hadamard matrices, which evens out the weights.
        calibrate: the text that input scales come from: "builtin", "none" for no scales, or the path of a file.
        parameters: name of the parameter set.
    """

    local: tuple[str, ...] = ()
    max_error: float = DEFAULT_MAX_ERROR
    equalise: bool = True
    rotate: bool = True
    calibrate: str = BUILTIN
    parameters: str = HINT_1024_24.name

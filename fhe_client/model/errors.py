"""What can be wrong with a model or with a request to it, each with the next step for the person who reads it."""

from __future__ import annotations

from typing import ClassVar

from fhe_client.errors import TacitaError

_ASK_THE_SERVER = "Choose another model, or ask whoever runs the server to import this one again."


class ModelError(TacitaError):
    """The base of this module's errors."""

    code: ClassVar[str] = "model"


class ModelFilesError(ModelError):
    """A file of the client's part of a model is missing, malformed, or contradicts the manifest."""

    code: ClassVar[str] = "bad_model"

    def __init__(self, message: str, next_step: str = _ASK_THE_SERVER) -> None:
        super().__init__(message, next_step)


class UnsupportedModelError(ModelError):
    """The files are fine, but this kind of model cannot be run with encrypted layers."""

    code: ClassVar[str] = "unsupported_model"

    def __init__(self, message: str, next_step: str = "Choose another model.") -> None:
        super().__init__(message, next_step)


class TemplateError(ModelError):
    """The model's chat template failed, or did not end within its limits."""

    code: ClassVar[str] = "bad_template"

    def __init__(self, message: str, next_step: str = _ASK_THE_SERVER) -> None:
        super().__init__(message, next_step)


class PromptTooLongError(ModelError):
    """The newest message alone does not fit into the model's context."""

    code: ClassVar[str] = "prompt_too_long"


class TranscriptError(ModelError):
    """A list of messages is malformed or too large."""

    code: ClassVar[str] = "bad_messages"


class PassError(ModelError):
    """The model asked for its groups in a way that could depend on secret data, or twice."""

    code: ClassVar[str] = "bad_pass"

    def __init__(self, message: str, next_step: str = _ASK_THE_SERVER) -> None:
        super().__init__(message, next_step)

"""What the local endpoint refuses, in the form that OpenAI's clients read."""

from __future__ import annotations

from typing import Any

from fhe_client.errors import TacitaError
from fhe_client.failures import describe

_OF_THE_REQUEST = ("model", "bad_messages")
_TOO_LONG = "prompt_too_long"


class ApiError(Exception):
    """A request that gets no reply.

    Args:
        status: the HTTP status.
        code: a stable word for programs.
        parameter: the field of the request that it is about.
        retry_after_s: seconds after which the same request may succeed.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        parameter: str | None = None,
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.parameter = parameter
        self.retry_after_s = retry_after_s

    def body(self) -> dict[str, Any]:
        """The error as OpenAI spells it."""
        kind = "invalid_request_error" if self.status < 500 else "server_error"
        fields = {"message": self.message, "type": kind, "param": self.parameter, "code": self.code}
        return {"error": fields}


def as_api_error(error: Exception) -> ApiError:
    """Any failure of a reply. Texts of foreign exceptions, which may quote a prompt, are not passed on."""
    if isinstance(error, ApiError):
        return error
    failure = describe(error)
    message = f"{failure.message} {failure.next_step}".strip()
    if failure.code == _TOO_LONG:
        return ApiError(400, "context_length_exceeded", message, "messages")
    if isinstance(error, TacitaError) and failure.code in _OF_THE_REQUEST:
        return ApiError(400, failure.code, message)
    return ApiError(500 if failure.internal else 502, failure.code, message)

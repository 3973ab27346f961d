"""What a client is told when it gets no answer: status, machine-readable code, words, and when to come back."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response


class ServiceError(HTTPException):
    """An error with a machine-readable code.

    Args:
        status: of HTTP.
        code: one of those in docs/architecture.md.
        message: what happened, without a full stop.
        retry_after: seconds after which trying again makes sense.
    """

    def __init__(
        self, status: int, code: str, message: str, retry_after: int | None = None
    ) -> None:
        headers = None if retry_after is None else {"retry-after": str(retry_after)}
        super().__init__(status, message, headers)
        self.code = code
        self.retry_after = retry_after

    @property
    def body(self) -> dict[str, object]:
        """The JSON object of the error, the same over HTTP and WebSocket."""
        return error_body(self.code, self.detail, self.retry_after)


def error_body(code: str, message: str, retry_after: int | None = None) -> dict[str, object]:
    """The JSON object of an error."""
    error: dict[str, object] = {"code": code, "message": message}
    if retry_after is not None:
        error["retry_after"] = retry_after
    return {"error": error}


def http_error(_: Request, error: Exception) -> Response:
    """Starlette's handler for HTTPException."""
    assert isinstance(error, HTTPException)
    body = error.body if isinstance(error, ServiceError) else error_body("http_error", error.detail)
    headers = {"cache-control": "no-store", **(error.headers or {})}
    return JSONResponse(body, error.status_code, headers)

"""The one error that callers see, its codes, and the HTTP status of each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType


class Code(StrEnum):
    """What went wrong, as a client may rely on it; `STATUS` gives the HTTP status."""

    INVALID_JSON = "invalid_json"
    VALIDATION_ERROR = "validation_error"
    UNAUTHORIZED = "unauthorized"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    REQUEST_TIMEOUT = "request_timeout"
    CONFLICT = "conflict"
    PRECONDITION_FAILED = "precondition_failed"
    PAYLOAD_TOO_LARGE = "payload_too_large"
    URI_TOO_LONG = "uri_too_long"
    UNSUPPORTED_MEDIA_TYPE = "unsupported_media_type"
    IDEMPOTENCY_MISMATCH = "idempotency_mismatch"
    RATE_LIMITED = "rate_limited"
    HEADERS_TOO_LARGE = "headers_too_large"
    INTERNAL_ERROR = "internal_error"
    UPSTREAM_ERROR = "upstream_error"
    UNAVAILABLE = "unavailable"
    UPSTREAM_TIMEOUT = "upstream_timeout"
    HTTP_VERSION_NOT_SUPPORTED = "http_version_not_supported"


STATUS: Mapping[Code, int] = MappingProxyType(
    {
        Code.INVALID_JSON: 400,
        Code.VALIDATION_ERROR: 400,
        Code.UNAUTHORIZED: 401,
        Code.FORBIDDEN: 403,
        Code.NOT_FOUND: 404,
        Code.METHOD_NOT_ALLOWED: 405,
        Code.REQUEST_TIMEOUT: 408,
        Code.CONFLICT: 409,
        Code.PRECONDITION_FAILED: 412,
        Code.PAYLOAD_TOO_LARGE: 413,
        Code.URI_TOO_LONG: 414,
        Code.UNSUPPORTED_MEDIA_TYPE: 415,
        Code.IDEMPOTENCY_MISMATCH: 422,
        Code.RATE_LIMITED: 429,
        Code.HEADERS_TOO_LARGE: 431,
        Code.INTERNAL_ERROR: 500,
        Code.UPSTREAM_ERROR: 502,
        Code.UNAVAILABLE: 503,
        Code.UPSTREAM_TIMEOUT: 504,
        Code.HTTP_VERSION_NOT_SUPPORTED: 505,
    }
)

_NO_HEADERS: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Detail:
    """One refused field; `field` is its name in the JSON body, the query or the path."""

    field: str
    message: str


class AppError(Exception):
    """A failure with a code; its message is shown to the client unless the status is 5xx.

    `retry_after` is in seconds; UNAVAILABLE always carries it. `headers` are added to the answer.
    """

    def __init__(
        self,
        code: Code,
        message: str,
        *,
        details: Sequence[Detail] = (),
        retry_after: int | None = None,
        headers: Mapping[str, str] = _NO_HEADERS,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = tuple(details)
        self.retry_after = 1 if retry_after is None and code is Code.UNAVAILABLE else retry_after
        self.headers = headers

    @property
    def status(self) -> int:
        return STATUS[self.code]


def invalid_field(field: str, message: str) -> AppError:
    """The refusal of a single field."""
    return AppError(Code.VALIDATION_ERROR, "The request is not valid", details=[Detail(field, message)])

"""The one error that callers see, its codes, and the HTTP status of each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType


class Code(StrEnum):
    """A code that clients may rely on, and the HTTP status of its answers. Several codes may share a status."""

    status: int

    def __new__(cls, value: str, status: int = 500) -> "Code":
        member = str.__new__(cls, value)
        member._value_ = value
        member.status = status
        return member

    INVALID_JSON = ("invalid_json", 400)
    VALIDATION_ERROR = ("validation_error", 400)
    UNAUTHORIZED = ("unauthorized", 401)
    FORBIDDEN = ("forbidden", 403)
    NOT_FOUND = ("not_found", 404)
    METHOD_NOT_ALLOWED = ("method_not_allowed", 405)
    REQUEST_TIMEOUT = ("request_timeout", 408)
    CONFLICT = ("conflict", 409)
    PRECONDITION_FAILED = ("precondition_failed", 412)
    PAYLOAD_TOO_LARGE = ("payload_too_large", 413)
    URI_TOO_LONG = ("uri_too_long", 414)
    UNSUPPORTED_MEDIA_TYPE = ("unsupported_media_type", 415)
    IDEMPOTENCY_MISMATCH = ("idempotency_mismatch", 422)
    RATE_LIMITED = ("rate_limited", 429)
    HEADERS_TOO_LARGE = ("headers_too_large", 431)
    INTERNAL_ERROR = ("internal_error", 500)
    UPSTREAM_ERROR = ("upstream_error", 502)
    UNAVAILABLE = ("unavailable", 503)
    UPSTREAM_TIMEOUT = ("upstream_timeout", 504)
    HTTP_VERSION_NOT_SUPPORTED = ("http_version_not_supported", 505)


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
        return self.code.status


def invalid_field(field: str, message: str) -> AppError:
    """The refusal of a single field."""
    return AppError(Code.VALIDATION_ERROR, "The request is not valid", details=[Detail(field, message)])

"""The one error that callers see, its codes, and the HTTP status and the meaning of each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType


class Code(StrEnum):
    """A code that clients may rely on, the HTTP status of its answers, and what it means in a few words.

    Several codes may share a status. The phrases of `http.HTTPStatus` are not used: they depend on the Python version.
    """

    status: int
    meaning: str

    def __new__(cls, value: str, status: int = 500, meaning: str = "") -> "Code":
        member = str.__new__(cls, value)
        member._value_ = value
        member.status = status
        member.meaning = meaning
        return member

    INVALID_JSON = ("invalid_json", 400, "The body is not valid JSON")
    VALIDATION_ERROR = ("validation_error", 400, "The request is not valid")
    UNAUTHORIZED = ("unauthorized", 401, "A valid API key is required")
    FORBIDDEN = ("forbidden", 403, "The API key lacks the required scope")
    NOT_FOUND = ("not_found", 404, "The resource does not exist")
    METHOD_NOT_ALLOWED = ("method_not_allowed", 405, "The path does not take this method")
    REQUEST_TIMEOUT = ("request_timeout", 408, "The request did not arrive in time")
    CONFLICT = ("conflict", 409, "The request conflicts with the present state")
    DUPLICATE_REFERENCE = ("duplicate_reference", 409, "Another order has this reference")
    PRICE_CHANGED = ("price_changed", 409, "The product has another price")
    EXPIRED = ("expired", 409, "The hold of the order has ended")
    PRECONDITION_FAILED = ("precondition_failed", 412, "The resource has changed in the meantime")
    PAYLOAD_TOO_LARGE = ("payload_too_large", 413, "The body is too large")
    URI_TOO_LONG = ("uri_too_long", 414, "The request target is too long")
    UNSUPPORTED_MEDIA_TYPE = ("unsupported_media_type", 415, "The media type is not supported")
    IDEMPOTENCY_MISMATCH = ("idempotency_mismatch", 422, "The Idempotency-Key was used for another request")
    RATE_LIMITED = ("rate_limited", 429, "Too many requests")
    HEADERS_TOO_LARGE = ("headers_too_large", 431, "The headers are too large")
    INTERNAL_ERROR = ("internal_error", 500, "The request could not be completed")
    UPSTREAM_ERROR = ("upstream_error", 502, "A service gave no usable answer")
    UNAVAILABLE = ("unavailable", 503, "A service is overloaded or cannot be reached")
    UPSTREAM_TIMEOUT = ("upstream_timeout", 504, "A service did not answer in time")
    OUTCOME_UNKNOWN = (
        "outcome_unknown",
        504,
        "Whether it was done is not known: look before repeating it, or repeat it with the same Idempotency-Key",
    )
    HTTP_VERSION_NOT_SUPPORTED = ("http_version_not_supported", 505, "The server speaks HTTP/1.1")


_NO_HEADERS: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Detail:
    """A refused field; `field` is its name in the JSON body, the query, the path or the headers."""

    field: str
    message: str


class AppError(Exception):
    """A failure with a code; its message, by default the code's meaning, is shown to the client except for a 500.

    `retry_after` is in seconds; UNAVAILABLE always carries it. `headers` are added to the answer.
    """

    def __init__(
        self,
        code: Code,
        message: str = "",
        *,
        details: Sequence[Detail] = (),
        retry_after: int | None = None,
        headers: Mapping[str, str] = _NO_HEADERS,
    ) -> None:
        super().__init__(message or code.meaning)
        self.code = code
        self.message = message or code.meaning
        self.details = tuple(details)
        self.retry_after = 1 if retry_after is None and code is Code.UNAVAILABLE else retry_after
        self.headers = headers

    def __repr__(self) -> str:  # for the log, with what it came of
        cause = f", because of {self.__cause__!r}" if self.__cause__ else ""
        return f"{type(self).__name__}({self.message!r}{cause})"

    @property
    def status(self) -> int:
        return self.code.status


def invalid_field(field: str, message: str) -> AppError:
    """An error that refuses a single field."""
    return AppError(Code.VALIDATION_ERROR, details=[Detail(field, message)])

"""The headers that the gateway reads and answers with: what passes to a service, and what a page may send and see."""

from multidict import istr

from shared import deadline
from shared.web.headers import IDEMPOTENCY_KEY, IF_MATCH, IF_NONE_MATCH, LAST_EVENT_ID

API_KEY = "X-API-Key"
FORWARDED_FOR = istr("X-Forwarded-For")
FORWARDED_HOST = istr("X-Forwarded-Host")
FORWARDED_PROTO = istr("X-Forwarded-Proto")
# These pass to a service and back. All others, hop-by-hop headers (RFC 9110 §7.6.1) included, end at the gateway; the
# client of the service sets the trace headers anew.
PASSED = tuple(map(istr, ("Content-Type", IDEMPOTENCY_KEY, IF_MATCH, IF_NONE_MATCH, LAST_EVENT_ID)))
RETURNED = tuple(
    map(istr, ("Content-Type", "Location", "Retry-After", "ETag", "Link", "Allow", "Idempotency-Replayed"))
)
# With those that are read or set here. A browser sends `Expect` and the like by itself.
READ = (
    *PASSED,
    *("Authorization", "Content-Encoding", "traceparent", "tracestate", "X-Request-ID"),
    *(API_KEY, deadline.HEADER),
)
ANSWERED = (
    *RETURNED,
    *("Accept", "Accept-Encoding", "Accept-Patch"),
    *("RateLimit", "RateLimit-Policy", "WWW-Authenticate", "X-Request-ID"),
)

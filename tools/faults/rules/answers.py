"""What is promised of answers, failed ones above all."""

from collections.abc import Iterator
from http import HTTPStatus

from shared.errors import Code
from tools.faults.difference import Breach, Difference
from tools.faults.evidence import Evidence, succeeded
from tools.faults.plan import Action, Kind, Operation
from tools.faults.record import Attempt

# The gateway gives itself 5 s; the rest is for the way and for two shared cores.
LIMIT = 6.5
# After it was healed, until the gateway serves again.
_RESTART = 3.0

_SUCCESS: dict[Action, HTTPStatus] = {"order": HTTPStatus.CREATED}
_OUTAGES = {Code.UPSTREAM_ERROR, Code.UNAVAILABLE, Code.UPSTREAM_TIMEOUT}


def everybody_is_answered(evidence: Evidence) -> Iterator[Difference]:
    """Every request is answered in time, unless the gateway itself was down."""
    for operation, attempt in _attempts(evidence):
        if _gateway_is_down(evidence, attempt):
            continue
        text = f"{operation.action} at {attempt.began:.2f} s took {attempt.ended - attempt.began:.1f} s"
        if attempt.status is None:
            yield Difference(Breach.NO_ANSWER, f"{text}: {attempt.error}", attempt.trace_id)
        elif attempt.ended - attempt.began > LIMIT:
            yield Difference(Breach.LATE, f"{text} until {attempt.status}", attempt.trace_id)


def answers_have_their_envelope(evidence: Evidence) -> Iterator[Difference]:
    """Every answer is the envelope of DESIGN §3, under its trace; `unavailable` says when to come back."""
    for operation, attempt in _attempts(evidence):
        if attempt.status is not None and not _is_enveloped(attempt):
            text = f"{operation.action} at {attempt.began:.2f} s: {attempt.status} {attempt.body}"
            yield Difference(Breach.ENVELOPE, text, attempt.trace_id)


def answers_have_a_cause(evidence: Evidence) -> Iterator[Difference]:
    """Success, an outage, or the one refusal that the operation may meet; never a crash, never "no such thing"."""
    for operation, attempt in _attempts(evidence):
        if attempt.status is None or attempt.status == _SUCCESS.get(operation.action, HTTPStatus.OK):
            continue
        if _code(attempt) not in _explained(operation):
            text = f"{operation.action} at {attempt.began:.2f} s: {attempt.status} {_code(attempt) or attempt.body}"
            yield Difference(Breach.UNEXPLAINED, text, attempt.trace_id)


def _attempts(evidence: Evidence) -> Iterator[tuple[Operation, Attempt]]:
    for outcome in evidence.record.outcomes:
        for attempt in outcome.attempts:
            yield outcome.operation, attempt


def _gateway_is_down(evidence: Evidence, attempt: Attempt) -> bool:
    for fault in evidence.plan.faults:
        if fault.target == "gateway" and fault.kind in {Kind.KILL, Kind.TERMINATE, Kind.FREEZE}:
            began, ended = evidence.record.lasted(fault)
            if began <= attempt.ended and attempt.began <= ended + _RESTART:
                return True
    return False


def _is_enveloped(attempt: Attempt) -> bool:
    body = attempt.body
    if not isinstance(body, dict) or body.get("statusCode") != attempt.status or "data" not in body:
        return False
    if body.get("traceId") != attempt.trace_id:
        return False
    if succeeded(attempt):
        return body["data"] is not None
    error = body.get("error")
    if not isinstance(error, dict) or not isinstance(error.get("message"), str) or body["data"] is not None:
        return False
    code = _code(attempt)
    return code is not None and code.status == attempt.status and (code is not Code.UNAVAILABLE or attempt.is_deferred)


def _explained(operation: Operation) -> set[Code]:
    """A conflict: the key is in progress, the order is rejected, the stock would leave its limits."""
    may_conflict = operation.action in {"cancel", "adjust"} or operation.key is not None
    return {*_OUTAGES, Code.CONFLICT} if may_conflict else _OUTAGES


def _code(attempt: Attempt) -> Code | None:
    """None if there is none that is known."""
    error = attempt.body.get("error") if isinstance(attempt.body, dict) else None
    code = error.get("code") if isinstance(error, dict) else None
    return Code(code) if code in set(Code) else None

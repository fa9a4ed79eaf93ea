"""The one error type of the operator's program."""


class OpsError(Exception):
    """Says in one line, without secrets, what could not be done and why; the exit status is 1."""


def first_line(error: BaseException) -> str:
    """The first line of its message, or its type if the message is empty."""
    return next(iter(str(error).splitlines()), "") or type(error).__name__

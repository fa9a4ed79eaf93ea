"""The one error of the operator's tools."""


class OpsError(Exception):
    """What could not be done and why, in one line without secrets; the exit status is 1."""


def first_line(error: BaseException) -> str:
    """What `error` says, or its name if it says nothing."""
    return next(iter(str(error).splitlines()), "") or type(error).__name__

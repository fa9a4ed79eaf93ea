"""The one error that ends a command with a message instead of a traceback."""


class StackError(Exception):
    """A failure that a user can act on: one line that names the part, and the end of its log if there is one."""

    def __init__(self, message: str, log: str = "") -> None:
        super().__init__(message)
        self.log = log

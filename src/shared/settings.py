"""Reads settings from a mapping of strings and reports everything that is wrong at once."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar
from urllib.parse import urlsplit

Value = TypeVar("Value")


class SettingsError(Exception):
    """All wrong or missing settings, one a line; never shows a value, which may be a secret."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Listen:
    """Where a process listens and what it logs."""

    host: str
    port: int
    log_level: str


@dataclass(slots=True)
class Environment:
    """Typed look-ups; a problem is noted and a harmless value returned, so that `check` can name them all."""

    values: Mapping[str, str] = field(repr=False)
    problems: list[str] = field(default_factory=list)

    def text(self, name: str, default: str | None = None) -> str:
        value = self.values.get(name, "").strip() or default
        if value is None:
            self.problems.append(f"{name} is not set")
            return ""
        return value

    def choice(self, name: str, choices: tuple[str, ...], default: str) -> str:
        value = self.text(name, default)
        if value not in choices:
            self.problems.append(f"{name} must be one of {', '.join(choices)}")
        return value

    def integer(self, name: str, default: int | None = None, *, low: int, high: int) -> int:
        value = self.text(name, None if default is None else str(default))
        if not value:
            return low
        try:
            number = int(value)
        except ValueError:
            number = low - 1
        if not low <= number <= high:
            self.problems.append(f"{name} must be an integer from {low} to {high}")
        return number

    def seconds(self, name: str, default: float, *, low: float, high: float) -> float:
        try:
            number = float(self.text(name, str(default)))
        except ValueError:
            number = low - 1
        if not low <= number <= high:
            self.problems.append(f"{name} must be a number of seconds from {low:g} to {high:g}")
        return number

    def url(self, name: str, *schemes: str) -> str:
        value = self.text(name)
        if value and not _is_url(value, schemes):
            self.problems.append(f"{name} must be a URL that starts with {' or '.join(f'{s}://' for s in schemes)}")
        return value

    def urls(self, name: str, *schemes: str) -> tuple[str, ...]:
        """One or more, with commas between."""
        text = self.text(name)
        values = tuple(filter(None, map(str.strip, text.split(","))))
        if text and not (values and all(_is_url(value, schemes) for value in values)):
            self.problems.append(f"{name} must be URLs that start with {' or '.join(f'{s}://' for s in schemes)}")
        return values

    def flag(self, name: str) -> bool:
        return self.choice(name, ("true", "false"), "false") == "true"

    def parsed(self, name: str, parse: Callable[[str], Value], default: Value) -> Value:
        """What `parse` makes of it; its ValueError tells the problems, one a line, and shows no value."""
        text = self.text(name, "")
        try:
            return parse(text) if text else default
        except ValueError as error:
            self.problems.extend(f"{name}: {problem}" for problem in str(error).splitlines())
            return default

    def listen(self, port: int) -> Listen:
        """HOST, PORT and LOG_LEVEL, the same for every process."""
        return Listen(
            host=self.text("HOST", "127.0.0.1"),
            port=self.integer("PORT", port, low=0, high=65535),
            log_level=self.choice("LOG_LEVEL", ("debug", "info", "warning", "error"), "info"),
        )

    def check(self) -> None:
        """Raises SettingsError if any look-up failed."""
        if self.problems:
            raise SettingsError(self.problems)


def _is_url(value: str, schemes: tuple[str, ...]) -> bool:
    try:
        parts = urlsplit(value)
        return parts.scheme in schemes and bool(parts.hostname) and parts.port != 0 and value == "".join(value.split())
    except ValueError:
        return False

"""Settings come from environment variables: one marshmallow schema per program, all mistakes reported at once."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlsplit

from marshmallow import EXCLUDE, Schema, ValidationError, fields, post_load, validate

Value = TypeVar("Value")


class SettingsError(Exception):
    """Everything that is missing or wrong, one problem a line; it never shows a value, which may be a secret."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Listen:
    """The address on which a process listens, and the level from which it logs."""

    host: str
    port: int
    log_level: str


class Parsed(fields.Field[Value]):
    """A variable that `parse` reads. Its ValueError lists the problems, one a line, and shows no value."""

    def __init__(self, parse: Callable[[str], Value], **options: Any) -> None:
        super().__init__(**options)
        self._parse = parse

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> Value:
        try:
            return self._parse(value)
        except ValueError as error:
            raise ValidationError(str(error).splitlines()) from None


def _alternatives(schemes: tuple[str, ...]) -> str:
    return " or ".join(f"{scheme}://" for scheme in schemes)


def _is_url(text: str, schemes: tuple[str, ...]) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in schemes and bool(parts.hostname) and parts.port != 0 and text == "".join(text.split())
    except ValueError:
        return False


def _within(low: float, high: float, problem: str) -> dict[str, Any]:
    messages = dict.fromkeys(("invalid", "special", "too_large"), problem)
    return {"validate": validate.Range(low, high, error=problem), "error_messages": messages}


def url(*schemes: str, **options: Any) -> Parsed[str]:
    """One URL with a host; the variable must be set."""

    def parse(text: str) -> str:
        if not _is_url(text, schemes):
            raise ValueError(f"must be a URL that starts with {_alternatives(schemes)}")
        return text

    return Parsed(parse, required=True, **options)


def urls(*schemes: str, **options: Any) -> Parsed[tuple[str, ...]]:
    """One or more URLs with commas between them; the variable must be set."""

    def parse(text: str) -> tuple[str, ...]:
        found = tuple(filter(None, map(str.strip, text.split(","))))
        if not found or not all(_is_url(entry, schemes) for entry in found):
            raise ValueError(f"must be URLs that start with {_alternatives(schemes)}")
        return found

    return Parsed(parse, required=True, **options)


def integer(default: int, low: int, high: int, **options: Any) -> fields.Integer:
    problem = f"must be an integer from {low} to {high}"
    return fields.Integer(load_default=default, **_within(low, high, problem), **options)


def seconds(default: float, low: float, high: float, **options: Any) -> fields.Float:
    problem = f"must be a number of seconds from {low:g} to {high:g}"
    return fields.Float(load_default=default, **_within(low, high, problem), **options)


def flag(**options: Any) -> fields.Boolean:
    """`true` or `false`; unset means false."""
    return fields.Boolean(
        load_default=False,
        truthy={"true"},
        falsy={"false"},
        error_messages={"invalid": "must be one of true, false"},
        **options,
    )


class SettingsSchema(Schema):
    """Each field reads the variable that has its name in upper case, or the one that its `data_key` names."""

    def on_bind_field(self, field_name: str, field_obj: fields.Field[Any]) -> None:
        field_obj.data_key = field_obj.data_key or field_name.upper()
        field_obj.error_messages["required"] = "is not set"


class ServiceSchema(SettingsSchema):
    """The variables of every service; they load as `listen`. A subclass replaces `port` to set its default."""

    host = fields.String(load_default="127.0.0.1")
    port = integer(0, 0, 65535)
    log_level = fields.String(
        load_default="info",
        validate=validate.OneOf(("debug", "info", "warning", "error"), error="must be one of {choices}"),
    )

    @post_load
    def _listen(self, values: dict[str, Any], **_: Any) -> dict[str, Any]:
        listen = Listen(values.pop("host"), values.pop("port"), values.pop("log_level"))
        return {"listen": listen, **values}


def load(schema: SettingsSchema, environ: Mapping[str, str]) -> dict[str, Any]:
    """The values by field name; an empty variable counts as unset. Raises SettingsError."""
    given = {name: text for name, value in environ.items() if (text := value.strip())}
    try:
        values: dict[str, Any] = schema.load(given, unknown=EXCLUDE)
    except ValidationError as error:
        problems = error.messages_dict.items()
        # The cause is left out: it holds all values, and a traceback would show them.
        raise SettingsError([f"{name} {problem}" for name, lines in problems for problem in lines]) from None
    return values

"""Settings come from environment variables: one frozen dataclass per program, all mistakes reported at once."""

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import MISSING, dataclass, fields
from typing import Annotated, Any, Self, TypeVar, get_type_hints
from urllib.parse import urlsplit

Number = TypeVar("Number", int, float)

# What a header carries as it is; a shorter one could be guessed.
_SECRET = re.compile(r"[A-Za-z0-9._~+/=-]{16,200}")
# What comes before the hosts of a URL, they, and the rest.
_HOSTS = re.compile(r"\A((?:.*?//)?(?:[^/?#]*@)?)([^/?#]*)(.*)", re.DOTALL)
# What a URL of Sentinels names: the primary, and perhaps the number of a database.
_PRIMARY = re.compile(r"/[\w.-]+(/\d*)?")


class SettingsError(Exception):
    """Everything that is missing or wrong, one problem a line; it never shows a value, which may be a secret."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def url(*schemes: str, several_hosts: bool = False) -> Callable[[str], str]:
    """One URL with a host, or also with several, with commas between them."""

    def parse(text: str) -> str:
        if not all(_is_url(each, schemes) for each in (each_host(text) if several_hosts else [text])):
            raise ValueError(f"must be a URL that starts with {_alternatives(schemes)}")
        return text

    return parse


def urls(*schemes: str) -> Callable[[str], tuple[str, ...]]:
    """One or more URLs with commas between them."""

    def parse(text: str) -> tuple[str, ...]:
        found = tuple(filter(None, map(str.strip, text.split(","))))
        if not found or not all(_is_url(entry, schemes) for entry in found):
            raise ValueError(f"must be URLs that start with {_alternatives(schemes)}")
        return found

    return parse


def integer(low: int, high: int) -> Callable[[str], int]:
    return _within(int, low, high, f"must be an integer from {low} to {high}")


def seconds(low: float, high: float) -> Callable[[str], float]:
    return _within(float, low, high, f"must be a number from {low:g} to {high:g}")


def choice(*texts: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in texts:
            raise ValueError(f"must be one of {', '.join(texts)}")
        return text

    return parse


def flag(text: str) -> bool:
    return choice("true", "false")(text) == "true"


def secrets(text: str) -> tuple[str, ...]:
    """One or, while it is exchanged, two with a comma between them."""
    found = tuple(map(str.strip, text.split(",")))
    if not all(map(_SECRET.fullmatch, found)):
        raise ValueError("must be secrets of 16 to 200 letters, digits or . _ ~ + / = -, with commas between them")
    return found


def _within(read: Callable[[str], Number], low: float, high: float, problem: str) -> Callable[[str], Number]:
    def parse(text: str) -> Number:
        with suppress(ValueError):
            if re.fullmatch("[0-9.e]+", text) and low <= (number := read(text)) <= high:  # Python also takes +1_0
                return number
        raise ValueError(problem)

    return parse


def _alternatives(schemes: tuple[str, ...]) -> str:
    return " or ".join(f"{scheme}://" for scheme in schemes)


def _is_url(text: str, schemes: tuple[str, ...]) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in schemes and bool(parts.hostname) and parts.port != 0 and text == "".join(text.split())
    except ValueError:
        return False


def each_host(url: str) -> list[str]:
    """A URL for each of the hosts that one names."""
    [(start, hosts, rest)] = _HOSTS.findall(url)
    return [start + host + rest for host in hosts.split(",")]


def redis_url(text: str) -> str:
    """Of a server, or of Sentinels: redis+sentinel://host1,host2/primary/0, where the number may be left out."""
    of_sentinels = text.startswith("redis+sentinel:")
    url("redis", "rediss", "redis+sentinel", several_hosts=of_sentinels)(text)
    if of_sentinels and not _PRIMARY.fullmatch(urlsplit(each_host(text)[0]).path):
        raise ValueError("must name a primary after the Sentinels, as in redis+sentinel://host1,host2/primary/0")
    return text


PostgresUrl = Annotated[str, url("postgresql", "postgres", several_hosts=True)]
RedisUrl = Annotated[str, redis_url]
AmqpUrl = Annotated[str, url("amqp", "amqps", several_hosts=True)]
Port = Annotated[int, integer(0, 65535)]


@dataclass(frozen=True, kw_only=True, repr=False)
class Settings:
    """Each field is read from the variable of its name in upper case, by the function beside its type.

    Such a function raises ValueError with the problems, one a line, which do not show the value; nor does the repr. A
    field without a default must be set.
    """

    @classmethod
    def load(cls, environ: Mapping[str, str]) -> Self:
        """An empty variable counts as unset. Raises SettingsError with everything that is wrong."""
        values: dict[str, Any] = {}
        problems: list[str] = []
        types = get_type_hints(cls, include_extras=True)
        for each in fields(cls):
            name = each.name.upper()
            text = environ.get(name, "").strip()
            if not text and each.default is MISSING:
                problems.append(f"{name} is not set")
                continue
            try:
                values[each.name] = types[each.name].__metadata__[0](text) if text else each.default
            except ValueError as error:
                problems += [f"{name} {problem}" for problem in str(error).splitlines()]
        problems += cls.contradictions(values)
        if problems:
            raise SettingsError(problems)
        return cls(**values)

    @classmethod
    def contradictions(cls, _values: Mapping[str, Any]) -> list[str]:
        """What is wrong between the values; those that could not be read are missing."""
        return []


@dataclass(frozen=True, kw_only=True, repr=False)
class ServiceSettings(Settings):
    """Where a service listens, in how many processes, how it ends and what it logs; the secret of all services."""

    host: Annotated[str, str] = "127.0.0.1"
    port: Port
    admin_port: Annotated[int | None, integer(0, 65535)] = None
    processes: Annotated[int, integer(1, 64)] = 1
    drain_seconds: Annotated[float, seconds(0.0, 60.0)] = 0.0
    log_level: Annotated[str, choice("debug", "info", "warning", "error")] = "info"
    service_secret: Annotated[tuple[str, ...], secrets] = ()
    otel_exporter_otlp_endpoint: Annotated[str | None, url("http", "https")] = None


@dataclass(frozen=True, kw_only=True, repr=False)
class BackendSettings(ServiceSettings):
    """Of a service that has a database, a cache and the broker, and how many requests it handles at once."""

    database_url: PostgresUrl
    statement_cache_size: Annotated[int, integer(0, 10_000)] = 100
    redis_url: RedisUrl
    amqp_url: AmqpUrl
    max_in_flight: Annotated[int, integer(1, 100_000)] = 1_000

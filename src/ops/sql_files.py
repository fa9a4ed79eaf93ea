"""The numbered SQL files of one database, as they are written: their order, how each is applied, its statements."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

_NAME = re.compile(r"(\d{4})_[a-z0-9_]+\.sql")
_MODE = re.compile(r"-- migrate: (.*)")
# What may hold a semicolon that ends no statement (https://www.postgresql.org/docs/current/sql-syntax-lexical.html):
# comments, strings, quoted names, dollar quotes. The body of a function is written in dollar quotes, not BEGIN ATOMIC.
_COMMENT = r"--[^\n]*|/\*.*?\*/"
_TOKEN = re.compile(
    _COMMENT + r"""|\b[eE]'(?:[^'\\]|\\.|'')*'|'(?:[^']|'')*'|"[^"]*"|\$(\w*)\$.*?\$\1\$|;""",
    re.DOTALL,
)
_BEFORE_STATEMENT = re.compile(rf"(?:\s|;|{_COMMENT})*", re.DOTALL)


class MigrationError(Exception):
    """Names the file that is missing, changed, out of sequence or failing, or the role that cannot be used."""


class Mode(StrEnum):
    """How a file is applied; one that names no mode in its first line is applied in one transaction."""

    TRANSACTION = "in one transaction"
    STATEMENTS = "statement by statement"
    BATCHES = "in batches"


@dataclass(frozen=True, slots=True)
class Statement:
    """`line` is the number of its first line in the file."""

    sql: str
    line: int

    def line_at(self, position: str | None) -> int:
        """The line in the file of a PostgreSQL error: its position counts characters of the statement from 1."""
        return self.line + self.sql.count("\n", 0, int(position) - 1) if position else self.line


@dataclass(frozen=True, slots=True)
class Migration:
    version: int
    name: str
    sql: str
    mode: Mode

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()

    def statements(self) -> list[Statement]:
        found, start = [], 0
        ends = [token.end() for token in _TOKEN.finditer(self.sql) if token[0] == ";"]
        for end in [*ends, len(self.sql)]:
            before = _BEFORE_STATEMENT.match(self.sql, start)
            begin = before.end() if before else start
            if begin < end:
                found.append(Statement(self.sql[begin:end], self.sql.count("\n", 0, begin) + 1))
            start = end
        return found


def read(folder: Path) -> list[Migration]:
    """The files in order. Raises MigrationError for a name of another form, a gap in the numbers, an unknown mode."""
    migrations = []
    for number, path in enumerate(sorted(folder.glob("*.sql")), 1):
        match = _NAME.fullmatch(path.name)
        if match is None or int(match[1]) != number:
            raise MigrationError(f"{path.name}: expected {number:04}_name.sql")
        sql = path.read_text()
        migrations.append(Migration(number, path.name, sql, _mode(path.name, sql)))
    if not migrations:
        raise MigrationError(f"{folder}: no migrations")
    return migrations


def pending(files: Sequence[Migration], applied: Mapping[int, tuple[str, str]]) -> Sequence[Migration]:
    """The files that are left to apply; `applied` maps version to name and checksum.

    Versions above those of the files belong to a newer release. Raises MigrationError for a file that has changed.
    """
    for file in files:
        name, checksum = applied.get(file.version, (file.name, file.checksum))
        if name != file.name:
            raise MigrationError(f"{name}: was applied, but the file is missing")
        if checksum != file.checksum:
            raise MigrationError(f"{name}: was changed after it was applied")
    return files[len(applied) :]


def _mode(name: str, sql: str) -> Mode:
    match = _MODE.match(sql)
    if match is None:
        return Mode.TRANSACTION
    try:
        return Mode(match[1].strip())
    except ValueError:
        raise MigrationError(f"{name}:1: {match[1]!r} is none of {', '.join(Mode)}") from None

"""Writes docs/openapi.json and docs/asyncapi.json, for programs that have no running system to ask."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gateway.routes import ROUTES
from tools import asyncapi
from tools.openapi import document as openapi

FOLDER = Path(__file__).parents[1] / "docs"


def documents() -> Mapping[str, str]:
    """The text of each file by its name."""
    return {"openapi.json": _text(openapi.document(ROUTES)), "asyncapi.json": _text(asyncapi.document())}


def main() -> int:
    for name, text in documents().items():
        (FOLDER / name).write_text(text)
        sys.stdout.write(f"docs/{name}\n")
    return 0


def _text(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.exit(main())

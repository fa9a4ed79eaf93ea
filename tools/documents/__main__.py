"""Writes docs/openapi.json, docs/asyncapi.json and the dashboards, for programs that have no running system to ask."""

import json
import sys
from collections.abc import Mapping
from typing import Any

from gateway.routes import ROUTES
from tools.documents import asyncapi, dashboards
from tools.documents.openapi import document as openapi
from tools.stack.services import ROOT


def documents() -> Mapping[str, str]:
    """The text of each file by its path."""
    return {
        "docs/openapi.json": _text(openapi.document(ROUTES)),
        "docs/asyncapi.json": _text(asyncapi.document()),
        **dashboards.documents(),
    }


def main() -> int:
    for name, text in documents().items():
        (ROOT / name).write_text(text)
        sys.stdout.write(f"{name}\n")
    return 0


def _text(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.exit(main())

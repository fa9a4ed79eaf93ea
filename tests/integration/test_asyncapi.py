"""The AsyncAPI document against the schema that the AsyncAPI initiative publishes."""

import asyncio
import json
import tarfile
from pathlib import Path
from typing import Any

from jsonschema import Draft7Validator

from tools.documents.asyncapi import document
from tools.installed import install_node

PACKAGE = "@asyncapi/specs@6.11.1"
SCHEMA = "package/schemas/3.0.0-without-$id.json"


async def published_schema(folder: Path) -> Any:
    await asyncio.to_thread(install_node)
    process = await asyncio.create_subprocess_exec(
        "npm", "pack", "--silent", PACKAGE, cwd=folder, stdout=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(45):
        output, _ = await process.communicate()
    assert process.returncode == 0
    with tarfile.open(folder / output.decode().strip()) as package:
        file = package.extractfile(SCHEMA)
        assert file is not None
        return json.load(file)


async def test_it_is_a_valid_asyncapi_document(tmp_path: Path) -> None:
    validator = Draft7Validator(await published_schema(tmp_path))
    broken = document() | {"channels": {"orders": {"address": 7}}}

    assert list(validator.iter_errors(document())) == []
    assert not validator.is_valid(broken)

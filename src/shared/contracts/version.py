"""The version in the OpenAPI and AsyncAPI documents: the system's own (setup.cfg). What it promises: docs/api.md."""

VERSION = "0.1.0"

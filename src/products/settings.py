"""Settings of the product service, from its environment."""

from dataclasses import dataclass

from shared.settings import BackendSettings, Port


@dataclass(frozen=True, kw_only=True, repr=False)
class Settings(BackendSettings):
    port: Port = 3001

"""What gateway.yaml and a line file may say, and what becomes of it: one frozen :class:`Settings`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, TypeAlias

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from gateway.core.model import Device, Link
from gateway.core.options import Names, Options, Slug
from gateway.journal.rows import WhenFull
from gateway.sinks.options import InfluxDbOptions, MqttOptions

SinkOptions: TypeAlias = MqttOptions | InfluxDbOptions


class LogLevel(StrEnum):
    """How much to say."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LogFormat(StrEnum):
    """For people or for programs."""

    TEXT = "text"
    JSON = "json"


class LogOptions(Options):
    """Diagnostic logs; they go to standard error."""

    level: LogLevel = LogLevel.INFO
    format: LogFormat = Field(LogFormat.TEXT, description="text for people, json for log collectors")


class JournalOptions(Options):
    """The durable store on the box."""

    directory: Path = Field(
        Path("/var/lib/pilot-gateway/journal"),
        description="folder of the journal, on a local disk; relative to this file",
    )
    max_size_mb: Annotated[int, Field(strict=True, ge=16, le=4_000_000)] = Field(
        8192, description="most disk space it takes; what happens then, and is counted, says when_full"
    )
    when_full: WhenFull = Field(
        WhenFull.DROP_OLDEST,
        description="drop_oldest: the oldest records go; drop_newest: what is new is not taken; "
        "thin: of the older ones every second record of each device goes, again and again",
    )
    history_s: Annotated[float, Field(strict=True, ge=0, le=366 * 86_400, allow_inf_nan=False)] = Field(
        86_400.0, description="how long records stay for local history after every sink has them"
    )

    @property
    def max_bytes(self) -> int:
        """``max_size_mb`` in bytes."""
        return self.max_size_mb * 1_000_000


class ApiOptions(Options):
    """The local HTTP API."""

    host: str = Field("127.0.0.1", min_length=1, description="address to listen on; other than loopback needs a token")
    port: Annotated[int, Field(strict=True, ge=0, le=65_535)] = Field(8421, description="0: any free one")
    token: SecretStr | None = Field(None, description="who shows it may read; prefer token_file")
    token_file: str | None = Field(None, description="file that holds the token")

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach it."""
        return is_loopback(self.host)


class GatewayFile(BaseSettings):
    """gateway.yaml: one gateway."""

    # not strict as a whole: what pydantic-settings hands over are Python objects, where strict means that a list is no
    # tuple and a word no enum; so the numbers of the sections are strict one by one
    model_config = SettingsConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    gateway: Slug = Field(description="Name of this gateway: what topics and the status call it")
    site: Slug | None = Field(None, description="site of the lines that do not say so themselves")
    journal: JournalOptions = Field(JournalOptions(), description="the durable store on the box")
    sinks: Mapping[str, Mapping[str, Any]] = Field(
        default_factory=dict,
        description="where the values go: a name and what it is; each has its own place in the journal",
    )
    api: ApiOptions = Field(ApiOptions(), description="the local HTTP API")
    log: LogOptions = Field(LogOptions(), description="diagnostic logs")
    lines: tuple[str, ...] = Field(
        ("lines/*.yaml",), min_length=1, description="line files, relative to this file; * stands for any name"
    )
    templates: str = Field("templates", min_length=1, description="folder of the templates, relative to this file")


class LineFile(Options):
    """config/lines/<line>.yaml: one pilot line."""

    site: Slug | None = Field(None, description="plant the line stands in; default: the site in gateway.yaml")
    line: Slug = Field(description="Name of the line: what topics and series carry")
    area: str = Field("", max_length=64, description="part of the plant")
    names: Names = Field(Names(), description="display names, {en: …, zh: …}")
    links: tuple[Mapping[str, Any], ...] = Field(min_length=1, description="the conversations that bring its values")


@dataclass(frozen=True, slots=True)
class Line:
    """One pilot line, ready to be started."""

    id: str
    site: str
    links: tuple[Link, ...]
    area: str = ""
    names: Mapping[str, str] = field(default_factory=dict, hash=False)
    file: str = ""

    @property
    def devices(self) -> tuple[Device, ...]:
        """Every device of every link, in the order of the file."""
        return tuple(device for link in self.links for device in link.devices)


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything a gateway is told at its start. Paths are absolute; secrets hide in SecretStr or stay in files."""

    gateway: str
    journal: JournalOptions
    sinks: Mapping[str, SinkOptions]  # by name, which is also the name of the cursor in the journal
    api: ApiOptions
    log: LogOptions
    lines: tuple[Line, ...]
    file: Path
    site: str | None = None

    @property
    def devices(self) -> tuple[Device, ...]:
        """Every device of every line."""
        return tuple(device for line in self.lines for device in line.devices)


def is_loopback(host: str) -> bool:
    """Whether ``host`` can only be this machine.

    >>> is_loopback("127.0.0.1"), is_loopback("[::1]"), is_loopback("localhost"), is_loopback("broker.lan")
    (True, True, True, False)
    """
    if host == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False

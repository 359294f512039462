"""The journal as the commands see it: through the API of the gateway that has it open, or else opened by themselves."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode
from urllib.request import ProxyHandler, Request, build_opener

from gateway.api.desk import Desk
from gateway.core.clock import SystemClock
from gateway.core.errors import GatewayError, JournalError
from gateway.journal.files import InUseError
from gateway.journal.sqlite import SqliteJournal
from gateway.settings import ApiOptions, Settings, load

_TIMEOUT_S = 30.0


class Access(Protocol):
    """What a command asks; the answers are those of gateway.api.desk."""

    def stat(self) -> dict[str, Any]: ...
    def records(self, record: int, since_ns: int, until_ns: int, *, readings: bool) -> dict[str, Any]: ...
    def letters(self, after: int, sink: str, limit: int) -> list[dict[str, Any]]: ...
    def letter(self, number: int) -> dict[str, Any]: ...
    def resend(self, number: int) -> None: ...
    def drop(self, number: int) -> None: ...


@contextmanager
def journal_of(config: Path) -> Iterator[Access]:
    """The journal of this configuration. Raises JournalError where there is none, ConfigError."""
    settings = load(config)
    directory = settings.journal.directory
    if not (directory / "journal.db").exists():
        raise JournalError(f"there is no journal in {directory} yet")
    with asyncio.Runner() as runner:
        journal = _journal(settings)
        try:
            runner.run(journal.open())
        except InUseError:
            yield _Remote(settings.api)
            return
        try:
            yield _Local(runner, Desk(journal))
        finally:
            runner.run(journal.close())


def _journal(settings: Settings) -> SqliteJournal:
    options = settings.journal
    return SqliteJournal(
        options.directory,
        SystemClock(),
        options.max_bytes,
        history_s=options.history_s,
        when_full=options.when_full,
    )


class _Local:
    """A stopped gateway's journal."""

    def __init__(self, runner: asyncio.Runner, desk: Desk) -> None:
        self._runner = runner
        self._desk = desk

    def stat(self) -> dict[str, Any]:
        return self._runner.run(self._desk.stat())

    def records(self, record: int, since_ns: int, until_ns: int, *, readings: bool) -> dict[str, Any]:
        return self._runner.run(self._desk.records(record, since_ns, until_ns, readings=readings))

    def letters(self, after: int, sink: str, limit: int) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._runner.run(self._desk.letters(after, sink, limit))["dead_letters"]
        return found

    def letter(self, number: int) -> dict[str, Any]:
        return self._runner.run(self._desk.letter(number))

    def resend(self, number: int) -> None:
        self._runner.run(self._desk.resend(number))

    def drop(self, number: int) -> None:
        self._runner.run(self._desk.drop(number))


class _Remote:
    """A running gateway."""

    def __init__(self, options: ApiOptions) -> None:
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(options.host, options.host)  # noqa: S104 what serve listens on
        self._base = f"http://[{host}]:{options.port}" if ":" in host else f"http://{host}:{options.port}"
        self._token = options.token.get_secret_value() if options.token else ""
        if options.token_file:
            self._token = Path(options.token_file).read_text().strip()
        self._opener = build_opener(ProxyHandler({}))  # it is this machine: no proxy in between

    def stat(self) -> dict[str, Any]:
        return self._ask("GET", "/api/v1/journal")

    def records(self, record: int, since_ns: int, until_ns: int, *, readings: bool) -> dict[str, Any]:
        query = {"from": record, "since_ns": since_ns, "until_ns": until_ns, "readings": int(readings)}
        return self._ask("GET", f"/api/v1/journal/records?{urlencode(query)}")

    def letters(self, after: int, sink: str, limit: int) -> list[dict[str, Any]]:
        query = urlencode({"after": after, "sink": sink, "limit": limit})
        found: list[dict[str, Any]] = self._ask("GET", f"/api/v1/dead-letters?{query}")["dead_letters"]
        return found

    def letter(self, number: int) -> dict[str, Any]:
        return self._ask("GET", f"/api/v1/dead-letters/{number}")

    def resend(self, number: int) -> None:
        self._ask("POST", f"/api/v1/dead-letters/{number}/resend")

    def drop(self, number: int) -> None:
        self._ask("DELETE", f"/api/v1/dead-letters/{number}")

    def _ask(self, method: str, path: str) -> dict[str, Any]:
        request = Request(self._base + path, method=method)  # noqa: S310 the scheme is ours
        if self._token:
            request.add_header("Authorization", f"Bearer {self._token}")
        try:
            with self._opener.open(request, timeout=_TIMEOUT_S) as response:
                found: dict[str, Any] = json.load(response)
        except HTTPError as error:
            raise GatewayError(_sentence(error)) from error
        except (URLError, OSError, ValueError) as error:
            reason = getattr(error, "reason", error)
            raise GatewayError(
                f"the gateway that has the journal open does not answer at {self._base} ({reason}): "
                "is api.port the one it was started with?"
            ) from error
        return found


def _sentence(error: HTTPError) -> str:
    try:
        return str(json.load(error)["error"])
    except (ValueError, KeyError, TypeError):
        return f"the gateway answers {error.code}"

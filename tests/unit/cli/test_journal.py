"""The commands around the journal: while the gateway is stopped, and through the API while it runs."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from gateway.api import make_api, serve_api
from gateway.board import LiveBoard
from gateway.cli import cli
from gateway.core.clock import SystemClock
from gateway.core.errors import GatewayError, JournalError
from gateway.health import Health
from gateway.journal.sqlite import SqliteJournal
from tests.contract.journal import ALL
from tests.support.journal_batches import TIME_NS, batch, noisy
from tests.support.processes import free_port

RIGHT = "right"
BATCHES = [batch(i, (float(i), 0.5, None)) for i in range(30)]


def configured(folder: Path) -> Path:
    """A gateway whose journal is in ``folder``/journal."""
    tags = [{"name": "t0", "register": 0, "type": "float32"}]
    link = {"id": "bus", "type": "modbus-tcp", "host": "127.0.0.1", "port": 502}
    link["devices"] = [{"id": "meter", "address": 1, "period_s": 1, "tags": tags}]
    (folder / "lines").mkdir()
    (folder / "lines" / "pl1.yaml").write_text(yaml.safe_dump({"line": "pl1", "links": [link]}))
    gateway: dict[str, Any] = {"gateway": "gw1", "site": "wuxi", "api": {"port": free_port()}}
    gateway["journal"] = {"directory": str(folder / "journal"), "max_size_mb": 64}
    (folder / "gateway.yaml").write_text(yaml.safe_dump(gateway))
    return folder / "gateway.yaml"


@asynccontextmanager
async def filled(folder: Path) -> AsyncIterator[SqliteJournal]:
    """An open journal with 30 records of three readings, ten of them delivered, two of these refused."""
    journal = SqliteJournal(folder / "journal", SystemClock(), 64_000_000, history_s=1e9)
    await journal.open()
    try:
        cursor = journal.cursor("mqtt")
        for i in range(0, 30, 10):
            for each in BATCHES[i : i + 10]:
                journal.append(each)
            await journal.flush()
        window = await cursor.take(*ALL)
        cursor.commit(10, [(window[3], "type conflict"), (window[4], "too \x1b[31mred")])
        yield journal
    finally:
        await journal.close()


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A stopped gateway with a filled journal."""
    file = configured(tmp_path)

    async def fill() -> None:
        async with filled(tmp_path):
            pass

    asyncio.run(fill())
    return file


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, [str(each) for each in arguments], env={"COLUMNS": "200"})


def json_of(*arguments: str | Path) -> Any:
    result = run(*arguments)
    assert result.exit_code == 0, (result.output, result.exception)
    return json.loads(result.stdout)


def test_stat_gives_the_account_of_each_sink(config: Path) -> None:
    found = json_of("journal", "stat", "--config", config, "--format", "json")
    assert found["accepted"] == {"records": 30, "readings": 90}
    account = {what: size["readings"] for what, size in found["sinks"]["mqtt"].items() if "readings" in size}
    assert account == {"accepted": 90, "delivered": 24, "pending": 60, "dropped": 0, "dead": 6}
    table = run("journal", "stat", "--config", config)
    assert table.exit_code == 0
    assert "mqtt" in table.stdout
    assert "accepted 90 readings" in table.stdout


def test_check_reads_everything_and_says_what_is_damaged(config: Path) -> None:
    sound = run("journal", "check", "--config", config)
    assert (sound.exit_code, sound.stdout) == (0, "30 records with 90 readings are sound.\n")
    db = sqlite3.connect(config.parent / "journal" / "journal.db", isolation_level=None)
    db.execute("UPDATE commit_group SET blob_crc = 1 WHERE first_record = 10")
    db.close()
    damaged = run("journal", "check", "--config", config, "--format", "json")
    assert damaged.exit_code == 3
    assert json.loads(damaged.stdout) == {
        "records": 20,
        "readings": 60,
        "damaged": [{"first_record": 10, "records": 10}],
        "ok": False,
    }


def test_export_writes_lines_of_a_time_and_of_a_device(config: Path) -> None:
    since = "2025-11-22T08:26:40.128+00:00"
    until = "2025-11-22T16:26:40.130+08:00"
    result = run("journal", "export", "--config", config, "--since", since, "--until", until)
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [(row["tag"], row["value"], row["seq"]) for row in rows] == [
        (tag, value, seq) for seq in (5, 6) for tag, value in (("t0", float(seq)), ("t1", 0.5), ("t2", None))
    ]
    assert rows[0]["time"] == "2025-11-22T08:26:40.128000000Z"
    assert TIME_NS + 5_000_000 == 1_763_800_000_128_000_000
    assert "6 readings" in result.stderr
    assert run("journal", "export", "--config", config, "--device", "wuxi/pl2/*").stdout == ""


def test_export_writes_a_table(config: Path, tmp_path: Path) -> None:
    result = run("journal", "export", "--config", config, "--output", tmp_path / "all.csv", "--device", "*/meter")
    assert result.exit_code == 0
    lines = (tmp_path / "all.csv").read_text().splitlines()
    assert len(lines) == 91
    assert lines[0].startswith("time,site,line,device,tag,value,unit,quality")
    assert lines[1].startswith("2025-11-22T08:26:40.123000000Z,wuxi,pl1,meter,t0,0.0,Cel,good")


def test_mistakes_are_sentences(config: Path, tmp_path: Path) -> None:
    wrong = run("journal", "export", "--config", config, "--since", "yesterday")
    assert wrong.exit_code == 2
    assert '"yesterday" is no time' in wrong.output
    (config.parent / "journal" / "journal.db").unlink()
    missing = run("journal", "stat", "--config", config)
    assert isinstance(missing.exception, JournalError)
    assert "there is no journal in" in str(missing.exception)


def test_letters_are_listed_shown_sent_again_and_dropped(config: Path) -> None:
    letters = json_of("dead-letters", "list", "--config", config, "--format", "json")
    assert [(each["sink"], each["reason"], each["seq"]) for each in letters] == [
        ("mqtt", "type conflict", 3),
        ("mqtt", "too \x1b[31mred", 4),
    ]
    table = run("dead-letters", "list", "--config", config).stdout
    assert "type conflict" in table
    assert "\x1b[31m" not in table
    shown = run("dead-letters", "show", str(letters[0]["id"]), "--config", config).stdout
    assert "mqtt refused it" in shown
    assert "3.0" in shown

    again = run("dead-letters", "resend", str(letters[0]["id"]), "--config", config)
    assert again.stdout == "1 dead letters are on their way again.\n"
    twice = run("dead-letters", "resend", str(letters[0]["id"]), "--config", config)
    assert isinstance(twice.exception, GatewayError)
    assert "on its way again already" in str(twice.exception)
    asked = run("dead-letters", "drop", "--all", "--config", config)
    assert asked.exit_code == 1
    dropped = run("dead-letters", "drop", "--all", "--yes", "--config", config)
    assert dropped.stdout == "1 dead letters were dropped.\n"
    account = json_of("journal", "stat", "--config", config, "--format", "json")["sinks"]["mqtt"]
    assert account["dropped_by"] == {"discarded": {"records": 1, "readings": 3}}
    readings = {what: account[what]["readings"] for what in ("accepted", "delivered", "pending", "dropped", "dead")}
    assert readings == {"accepted": 90, "delivered": 24, "pending": 63, "dropped": 3, "dead": 0}


def test_letters_have_to_be_named(config: Path) -> None:
    for arguments in (["resend"], ["resend", "1", "--all"]):
        result = run("dead-letters", *arguments, "--config", config)
        assert result.exit_code == 2
        assert "say --all" in result.output
    missing = run("dead-letters", "show", "77", "--config", config)
    assert str(missing.exception) == "there is no dead letter 77"


@contextmanager
def token(config: Path, text: str) -> Iterator[None]:
    """The API of this configuration wants a token."""
    before = config.read_text()
    gateway = yaml.safe_load(before)
    gateway["api"]["token"] = text
    config.write_text(yaml.safe_dump(gateway))
    yield
    config.write_text(before)


async def test_while_the_gateway_runs_its_api_is_asked(tmp_path: Path) -> None:
    config = configured(tmp_path)
    port = yaml.safe_load(config.read_text())["api"]["port"]
    async with filled(tmp_path) as journal:
        refused = await asyncio.to_thread(run, "journal", "stat", "--config", config)
        assert "does not answer" in str(refused.exception)
        api = make_api(LiveBoard(()), Health("gw1", "9f3a11c2", "1", 0), journal, token=RIGHT)
        up = asyncio.Event()
        serving = asyncio.create_task(serve_api(api, "127.0.0.1", port, listening=lambda *_: up.set()))
        try:
            await asyncio.wait_for(up.wait(), 10)
            bare = await asyncio.to_thread(run, "dead-letters", "drop", "--all", "--yes", "--config", config)
            assert "Authorization: Bearer" in str(bare.exception)
            with token(config, RIGHT):
                letters = await asyncio.to_thread(
                    json_of, "dead-letters", "list", "--config", config, "--format", "json"
                )
                assert [each["seq"] for each in letters] == [3, 4]
                for command in ("resend", "drop"):
                    number = str(letters.pop(0)["id"])
                    result = await asyncio.to_thread(run, "dead-letters", command, number, "--config", config)
                    assert result.exit_code == 0, result.output
                check = await asyncio.to_thread(run, "journal", "check", "--config", config)
                assert check.stdout == "30 records with 90 readings are sound.\n"
                export = await asyncio.to_thread(run, "journal", "export", "--config", config)
                assert len(export.stdout.splitlines()) == 90
                missing = await asyncio.to_thread(run, "dead-letters", "show", "77", "--config", config)
                assert str(missing.exception) == "there is no dead letter 77"
        finally:
            serving.cancel()
            with suppress(asyncio.CancelledError):
                await serving
        again = await journal.cursor("mqtt").take(*ALL)
        assert list(again) == [BATCHES[3]]
        stats = journal.stats().cursors["mqtt"]
        assert stats.accepted == stats.delivered + stats.pending + stats.dropped + stats.dead


def test_values_of_every_kind_are_exported(tmp_path: Path) -> None:
    config = configured(tmp_path)

    async def fill() -> None:
        journal = SqliteJournal(tmp_path / "journal", SystemClock(), 64_000_000)
        await journal.open()
        journal.cursor("mqtt")
        for each in noisy(3, 2):
            journal.append(each)
        await journal.close()

    asyncio.run(fill())
    result = run("journal", "export", "--config", config, "--format", "csv")
    assert len(result.stdout.splitlines()) == 7

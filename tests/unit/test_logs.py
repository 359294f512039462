"""Diagnostic logs: readable, unforgeable, silent about secrets, not drowned by libraries."""

from __future__ import annotations

import io
import json
import logging
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import logs

ALL_TEXT = st.text(st.characters(), max_size=300)


def _configured(format: logs.Format, **keywords: object) -> io.StringIO:  # noqa: A002
    stream = io.StringIO()
    logs.configure("debug", format, stream=stream, **keywords)  # type: ignore[arg-type]
    return stream


def test_text_has_time_level_logger_message_and_fields() -> None:
    stream = _configured("text")
    logging.getLogger("gateway.acquire").warning("link %s is lost", "bus", extra={"link": "bus", "error": "no answer"})
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z WARNING gateway.acquire: link bus is lost"
        r'  link=bus error="no answer"\n',
        stream.getvalue(),
    )


def test_json_is_one_object_per_line_with_the_fields() -> None:
    stream = _configured("json")
    logging.getLogger("gateway.acquire").info("back", extra={"link": "bus", "after_s": 3.5, "big": 2**60})
    line = json.loads(stream.getvalue())
    assert list(line)[:4] == ["time", "level", "logger", "message"]
    assert (line["level"], line["message"], line["link"], line["after_s"]) == ("info", "back", "bus", 3.5)
    assert line["big"] == str(2**60)


def test_an_extra_field_cannot_pose_as_the_level() -> None:
    stream = _configured("json")
    logging.getLogger("gateway").info("fine", extra={"level": "error", "time": "never"})
    line = json.loads(stream.getvalue())
    assert line["level"] == "info"
    assert line["time"] != "never"


@given(said=ALL_TEXT)
def test_what_a_device_says_stays_on_its_line(said: str) -> None:
    record = logging.makeLogRecord({"name": "x", "msg": "it said %s", "args": (said,), "extra_said": said})
    for formatter in (logs.TextFormatter(logs.Redactor(())), logs.JsonFormatter(logs.Redactor(()))):
        line = formatter.format(record)
        assert len(line.splitlines()) == 1
        assert not any(ord(character) < 32 or 127 <= ord(character) < 160 for character in line)


def test_megabytes_are_cut() -> None:
    assert len(logs.escaped("x" * 1_000_000)) < 5_000


@pytest.mark.parametrize("format", ["text", "json"])
def test_secrets_never_come_out(format: logs.Format) -> None:  # noqa: A002
    stream = _configured(format, secrets=["hunter2-secret", ""])
    log = logging.getLogger("gateway")
    log.info("login hunter2-secret", extra={"password": "hunter2-secret"})
    try:
        raise ValueError("hunter2-secret is wrong for mqtt://me:open-sesame@broker")
    except ValueError:
        log.exception("refused")
    log.info("at https://user:open-sesame@influx:8086/api")
    assert "hunter2" not in stream.getvalue()
    assert "sesame" not in stream.getvalue()
    assert "https://user:***@influx:8086/api" in stream.getvalue()


@pytest.mark.parametrize("format", ["text", "json"])
def test_a_bug_comes_with_its_traceback(format: logs.Format) -> None:  # noqa: A002
    stream = _configured(format)
    try:
        raise ZeroDivisionError("boom\x1b[0m")
    except ZeroDivisionError:
        logging.getLogger("gateway").exception("a bug")
    assert "ZeroDivisionError: boom\\\\x1b[0m" in stream.getvalue() or "boom\\x1b[0m" in stream.getvalue()
    assert "test_logs.py" in stream.getvalue()
    assert "\x1b" not in stream.getvalue()


def test_libraries_are_kept_at_warning_even_when_we_debug() -> None:
    stream = _configured("text")
    logging.getLogger("gateway").debug("ours")
    logging.getLogger("asyncua.client").info("theirs")
    assert "ours" in stream.getvalue()
    assert "theirs" not in stream.getvalue()


def test_a_library_that_complains_each_second_is_cut_short() -> None:
    now_s = 0.0
    limited = logs.LibraryFilter(lambda: now_s)
    passed = []
    for second in range(180):
        now_s = float(second)
        record = logging.makeLogRecord({"name": "asyncua.client", "levelno": logging.ERROR, "msg": "connection lost"})
        if limited.filter(record):
            passed.append((second, record.getMessage()))
    assert [second for second, _ in passed] == [*range(5), *range(60, 65), *range(120, 125)]
    assert passed[5][1] == "connection lost (and 55 more lines of asyncua were held)"
    ours = logging.makeLogRecord({"name": "gateway.app", "levelno": logging.ERROR, "msg": "ours"})
    assert all(limited.filter(ours) for _ in range(100))


def test_configuring_twice_writes_each_line_once() -> None:
    _configured("text")
    stream = _configured("json")
    logging.getLogger("gateway").info("once")
    assert stream.getvalue().count("once") == 1

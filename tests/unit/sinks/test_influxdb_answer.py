"""What an answer means."""

from __future__ import annotations

import pytest

from gateway.sinks.influxdb_answer import Action, Verdict, judge, retry_after_s

NOW_NS = 1_445_412_480_000_000_000  # Wed, 21 Oct 2015 07:28:00 GMT


def answer(status: int, body: str = "", **headers: str) -> Verdict:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return judge(status, named, body, "http://db:8086", "bucket 'plant'", NOW_NS)


def test_only_204_is_stored() -> None:
    assert answer(204).action is Action.STORED
    assert all(answer(status).action is Action.LATER for status in (200, 201, 202, 206, 301, 302, 408, 500, 502, 504))


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ('{"error":"partial write: field type conflict dropped=3"}', "partial write: field type conflict dropped=3"),
        ('{"code":"invalid","message":"bad\\n line"}', "bad line"),
        ("plain  text", "plain text"),
        ("[1]", "[1]"),
        ("", "HTTP 422"),
        ("x" * 1000, "x" * 299 + "…"),
    ],
)
def test_what_the_server_says_is_one_short_line(body: str, says: str) -> None:
    verdict = answer(422, body)
    assert verdict.action is Action.BISECT
    assert verdict.reason == f"refused by http://db:8086: {says}"


def test_partial_writes() -> None:
    verdict = answer(400, '{"error":"partial write: field type conflict dropped=3"}')
    assert (verdict.partial, verdict.dropped, verdict.lines) == (True, 3, ())
    verdict = answer(
        400, '{"error":"partial write of line protocol occurred","data":[{"line_number":2},{"line_number":9}]}'
    )
    assert (verdict.partial, verdict.lines) == (True, (1, 8))
    assert answer(400, '{"error":"x","data":[{"other":2}]}').lines == ()
    assert not answer(400, '{"error":"unable to parse"}').partial


@pytest.mark.parametrize(("body", "kind"), [(" <html>", "text/plain"), ("oops", "text/html; charset=utf-8")])
def test_a_page_says_nothing_about_our_data(body: str, kind: str) -> None:
    assert answer(400, body, Content_Type=kind).action is Action.LATER


@pytest.mark.parametrize("status", [401, 403, 404])
def test_what_a_person_must_mend_is_slow_and_named(status: int) -> None:
    error = answer(status, '{"message":"no"}').error
    assert error
    assert error.slow
    assert "bucket 'plant'" in str(error)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("120", 120.0),
        ("0", 0.0),
        ("601", 600.0),
        ("Wed, 21 Oct 2015 07:28:30 GMT", 30.0),
        ("Wed, 21 Oct 2015 07:00:00 GMT", 0.0),
        ("Thu, 21 Oct 2027 07:28:00 GMT", 600.0),
        ("Wed, 21 Oct 2015 07:28:30 -0000", 30.0),
        ("1.5", None),
        ("-1", None),
        ("²", None),
        ("later", None),
        ("Wed, 99 Oct 2015 99:28:30 GMT", None),
    ],
)
def test_retry_after(text: str, seconds: float | None) -> None:
    assert retry_after_s({"Retry-After": text}, NOW_NS) == seconds


def test_a_date_is_measured_by_the_servers_clock() -> None:
    headers = {"Retry-After": "Thu, 01 Jan 2026 00:00:10 GMT", "Date": "Thu, 01 Jan 2026 00:00:00 GMT"}
    assert retry_after_s(headers, NOW_NS) == 10.0
    assert retry_after_s({}, NOW_NS) is None

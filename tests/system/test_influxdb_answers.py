"""The InfluxDB sink and every answer a server, a proxy or nobody may give (faults D1, D8-D14)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway.board import LiveBoard
from gateway.core.clock import SystemClock
from gateway.core.errors import Rejected, SinkUnavailable
from gateway.sinks import Identity
from gateway.sinks.influxdb import GROW_AFTER, InfluxDbSink
from gateway.sinks.options import InfluxDbOptions
from tests.support.batches import COLUMNS, batch, floats
from tests.support.http_scripted import Answer, Asked, ScriptedHttp, scripted_http
from tests.support.waiting import until

pytestmark = pytest.mark.system


@pytest.fixture
async def server() -> AsyncIterator[ScriptedHttp]:
    async with scripted_http() as scripted:
        yield scripted


def make(url: str, **options: Any) -> InfluxDbSink:
    chosen = InfluxDbOptions(type="influxdb", url=url, bucket="plant", org="wuxi", **options)
    return InfluxDbSink("influxdb", chosen, Identity("gw1", "9f3a11c2"), LiveBoard([]), SystemClock())


@pytest.fixture
async def sink(server: ScriptedHttp) -> AsyncIterator[InfluxDbSink]:
    made = make(server.url, token="s3cret", timeout_s=2)  # noqa: S106
    await made.connect()
    yield made
    await made.close()


def expected(count: int) -> list[bytes]:
    encoder = make("http://unused")._encoder
    return [line for each in floats(count) for line in encoder.lines(each)]


async def test_what_a_request_looks_like(server: ScriptedHttp, sink: InfluxDbSink) -> None:
    await sink.write(floats(3), history=False)
    (asked,) = server.asked
    assert (asked.method, asked.path) == ("POST", "/api/v2/write")
    assert asked.query == {"org": ["wuxi"], "bucket": ["plant"], "precision": ["ns"]}
    assert asked.headers["authorization"] == "Token s3cret"
    assert asked.headers["content-encoding"] == "gzip"
    assert server.lines() == expected(3)


async def test_d1_nobody_there(unused_tcp_port: int) -> None:
    with pytest.raises(SinkUnavailable, match="cannot be reached") as refused:
        await make(f"http://127.0.0.1:{unused_tcp_port}").connect()
    assert "object at 0x" not in str(refused.value)
    with pytest.raises(SinkUnavailable, match="cannot be reached"):
        await make("http://no-such-host.invalid:8086").connect()


@pytest.mark.parametrize("status", [400, 422])
async def test_d8_offending_lines_are_found_and_every_other_is_stored(
    server: ScriptedHttp, sink: InfluxDbSink, status: int
) -> None:
    stored: set[bytes] = set()

    def answer(asked: Asked) -> Answer:
        lines = asked.body.splitlines(keepends=True)
        if any(b"value=81.0," in line or b"value=84.0," in line for line in lines):  # seq 8 and 32
            return Answer(status, '{"code":"invalid","message":"unable to parse: bad number"}')
        stored.update(lines)
        return Answer()

    server.answer = answer
    with pytest.raises(Rejected, match="unable to parse: bad number") as rejected:
        await sink.write(floats(50), history=False)
    assert rejected.value.indices == (7, 31)
    assert stored == {line for line in expected(50) if b"value=81.0," not in line and b"value=84.0," not in line}
    assert len(server.asked) < 40


async def test_d8_every_line_refused_for_a_reason_of_its_own_ends_and_names_everything(
    server: ScriptedHttp, sink: InfluxDbSink
) -> None:
    server.answer = lambda asked: Answer(422, f'{{"message":"unable to parse {len(server.asked)}"}}')
    with pytest.raises(Rejected) as rejected:
        await sink.write(floats(10), history=False)
    assert rejected.value.indices == tuple(range(10))


@pytest.mark.parametrize("status", [400, 422])
async def test_d8_a_server_that_refuses_everything_alike_gets_no_dead_letters(
    server: ScriptedHttp, sink: InfluxDbSink, status: int
) -> None:
    server.answer = lambda asked: Answer(status, '{"message":"org is missing"}')
    with pytest.raises(SinkUnavailable, match=r"every line is refused by .*org is missing.*mend url") as refused:
        await sink.write(floats(100), history=False)
    assert refused.value.slow
    assert len(server.asked) < 20
    server.answer = lambda asked: Answer()
    await sink.write(floats(100), history=False)


async def test_d8_bad_lines_at_the_front_do_not_make_us_doubt(server: ScriptedHttp, sink: InfluxDbSink) -> None:
    def answer(asked: Asked) -> Answer:
        bad = any(line in asked.body for line in expected(4))  # every series of it, in the first four records
        return Answer(400, '{"message":"unable to parse"}') if bad else Answer()

    server.answer = answer
    with pytest.raises(Rejected) as rejected:
        await sink.write(floats(20), history=False)
    assert rejected.value.indices == (0, 1, 2, 3)


async def test_what_a_server_says_of_our_token_is_not_passed_on(server: ScriptedHttp, sink: InfluxDbSink) -> None:
    for status in (400, 401, 404, 500, 503):
        server.answer = lambda asked, status=status: Answer(status, '{"message":"s3cret is no good"}')  # type: ignore[misc]
        with pytest.raises((SinkUnavailable, Rejected), match=r"\*\*\* is no good") as refused:
            await sink.write(floats(1), history=False)
        assert "s3cret" not in str(refused.value)


async def test_d8_a_partial_write_that_drops_everything_needs_no_search(
    server: ScriptedHttp, sink: InfluxDbSink
) -> None:
    def answer(asked: Asked) -> Answer:
        count = len(asked.body.splitlines())
        return Answer(422, f'{{"error":"partial write: points beyond retention policy dropped={count}"}}')

    server.answer = answer
    with pytest.raises(Rejected, match="beyond retention policy") as rejected:
        await sink.write(floats(100), history=False)
    assert rejected.value.indices == tuple(range(100))
    assert len(server.asked) == 1


async def test_d8_influxdb_3_names_the_lines(server: ScriptedHttp, sink: InfluxDbSink) -> None:
    body = '{"error":"partial write of line protocol occurred","data":[{"line_number":4,"error_message":"type"}]}'
    server.answer = lambda asked: Answer(400, body)
    with pytest.raises(Rejected, match="partial write of line protocol") as rejected:
        await sink.write(floats(10), history=False)
    assert rejected.value.indices == (1,)  # two lines each
    assert len(server.asked) == 1


async def test_a_page_of_a_proxy_is_not_a_judgement_about_our_data(server: ScriptedHttp, sink: InfluxDbSink) -> None:
    server.answer = lambda asked: Answer(400, "<html>Bad Request</html>", {"Content-Type": "text/html"})
    with pytest.raises(SinkUnavailable, match="400"):
        await sink.write(floats(1), history=False)


@pytest.mark.parametrize("status", [401, 403])
async def test_d9_the_token_file_is_read_again(server: ScriptedHttp, tmp_path: Path, status: int) -> None:
    def answer(asked: Asked) -> Answer:
        right = asked.headers.get("authorization") == "Token right"
        return Answer() if right else Answer(status, '{"message":"unauthorized access"}')

    server.answer = answer
    token = tmp_path / "token"
    token.write_text("wrong\n")
    sink = make(server.url, token_file=str(token))
    await sink.connect()
    with pytest.raises(SinkUnavailable, match="refuses the token") as refused:
        await sink.write(floats(2), history=False)
    assert refused.value.slow
    assert "wrong" not in str(refused.value)
    token.write_text("right\n")
    await sink.connect()
    await sink.write(floats(2), history=False)
    await sink.close()


async def test_d10_bucket_and_org_are_named(server: ScriptedHttp, sink: InfluxDbSink) -> None:
    server.answer = lambda asked: Answer(404, '{"code":"not found","message":"bucket \\"plant\\" not found"}')
    with pytest.raises(SinkUnavailable, match="bucket 'plant' in org 'wuxi'") as refused:
        await sink.write(floats(1), history=False)
    assert refused.value.slow


async def test_d11_a_request_that_is_too_large_is_halved_and_that_is_remembered(
    server: ScriptedHttp, sink: InfluxDbSink
) -> None:
    server.answer = lambda asked: Answer(413 if len(asked.body.splitlines()) > 30 else 204)
    await sink.write(floats(100), history=False)
    assert sink.window[1] <= 30
    server.asked.clear()
    await sink.write(floats(100), history=False)
    assert server.lines() == expected(100)
    assert max(len(asked.body.splitlines()) for asked in server.asked) <= 30


async def test_d11_once_the_limit_is_gone_requests_grow_again_slowly(server: ScriptedHttp, sink: InfluxDbSink) -> None:
    most = sink.window[1]
    server.answer = lambda asked: Answer(413 if len(asked.body.splitlines()) > 3_000 else 204)
    await sink.write(floats(2_000), history=False)
    small = sink.window[1]
    assert small <= 3_000
    server.answer = lambda asked: Answer()
    for _ in range(GROW_AFTER):
        assert sink.window[1] == small
        await sink.write(floats(1), history=False)
    assert small < sink.window[1] <= 1.3 * small
    writes = 0
    while sink.window[1] < most:
        await sink.write(floats(1), history=False)
        writes += 1
        assert writes < 30 * GROW_AFTER
    for _ in range(2 * GROW_AFTER):
        await sink.write(floats(1), history=False)
    assert sink.window[1] == most


async def test_d11_a_line_that_is_too_large_by_itself_is_refused(server: ScriptedHttp, sink: InfluxDbSink) -> None:
    server.answer = lambda asked: Answer(413 if len(asked.body) > 1000 else 204)
    large = batch((1.5, 2.5, 7, True, "x" * 2000), seq=2)
    with pytest.raises(Rejected, match="413") as rejected:
        await sink.write([*floats(1), large], history=False)
    assert rejected.value.indices == (1,)
    assert COLUMNS[4].name.encode() in max(server.lines(), key=len)


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(
    ("retry_after", "seconds"),
    [("7", 7.0), ("31536000", 600.0), ("soon", None), ("-5", None), ("", None), ("9" * 400, 600.0)],
)
async def test_d12_retry_after(
    server: ScriptedHttp, sink: InfluxDbSink, status: int, retry_after: str, seconds: float | None
) -> None:
    server.answer = lambda asked: Answer(status, "busy", {"Retry-After": retry_after})
    with pytest.raises(SinkUnavailable, match="asks us to wait") as refused:
        await sink.write(floats(1), history=False)
    assert refused.value.retry_after_s == seconds
    assert not refused.value.slow


async def test_d12_retry_after_a_date_by_the_servers_own_clock(server: ScriptedHttp, sink: InfluxDbSink) -> None:
    headers = {"Retry-After": "Wed, 21 Oct 2015 07:28:30 GMT", "Date": "Wed, 21 Oct 2015 07:28:00 GMT"}
    server.answer = lambda asked: Answer(503, "", headers)
    with pytest.raises(SinkUnavailable) as refused:
        await sink.write(floats(1), history=False)
    assert refused.value.retry_after_s == 30.0


@pytest.mark.parametrize("answer", [Answer(silent=True), Answer(hang_up=True)])
async def test_d13_no_answer_and_then_the_same_bytes_again(server: ScriptedHttp, answer: Answer) -> None:
    sink = make(server.url, timeout_s=0.5)
    await sink.connect()
    server.answer = lambda asked: answer
    with pytest.raises(SinkUnavailable, match="cannot be reached"):
        await sink.write(floats(5), history=False)
    server.answer = lambda asked: Answer()
    await sink.write(floats(5), history=True)
    first, second = server.asked
    assert first.raw == second.raw
    await sink.close()


@pytest.mark.parametrize(
    "answer",
    [
        Answer(200, "<html>Welcome, please log in</html>", {"Content-Type": "text/html"}),
        Answer(202),
        Answer(302, "", {"Location": "/login"}),
        Answer(500, '{"error":"timeout"}'),
        Answer(511, "<html>log in</html>"),
    ],
)
async def test_d14_only_204_counts(server: ScriptedHttp, sink: InfluxDbSink, answer: Answer) -> None:
    server.answer = lambda asked: answer
    with pytest.raises(SinkUnavailable, match=str(answer.status)):
        await sink.write(floats(1), history=False)
    assert len(server.asked) == 1, "no retry and no redirect of its own"


async def test_close_does_not_wait_for_an_answer_that_does_not_come(server: ScriptedHttp) -> None:
    sink = make(server.url, timeout_s=3)
    await sink.connect()
    server.answer = lambda asked: Answer(silent=True)
    write = asyncio.create_task(sink.write(floats(1), history=False), name="write")
    await until(lambda: server.asked, "the request is there")
    write.cancel()
    async with asyncio.timeout(1):
        await asyncio.wait([write])
        await sink.close()
        await sink.close()
    with pytest.raises(SinkUnavailable, match="not connected"):
        await sink.write(floats(1), history=False)

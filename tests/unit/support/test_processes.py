"""The helpers that other tests rely on, and the check that nothing is left behind."""

from __future__ import annotations

import os
import signal
import sys

import pytest

from tests.support.processes import ProcessFailed, descendants, free_ports, program, run_process, run_to_end

pytest_plugins = ["pytester"]

SAY_AND_STAY = "import signal; print('ready on 42', flush=True); signal.pause()"
DEAF = "import signal; signal.signal(15, signal.SIG_IGN); print('ready', flush=True)\nwhile True: signal.pause()"
PARENT = (
    "import signal, subprocess, sys; child = subprocess.Popen([sys.executable, '-c', 'import signal; signal.pause()']);"
    "print('child', child.pid, flush=True); signal.pause()"
)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_a_process_is_waited_for_and_ended() -> None:
    async with run_process(sys.executable, "-c", SAY_AND_STAY, ready=r"ready on \d+") as process:
        assert (await process.wait_for(r"on (\d+)"))[1] == "42"
        assert process.returncode is None
    assert process.returncode == -signal.SIGTERM


async def test_a_process_that_does_not_get_ready_fails_with_what_it_said() -> None:
    with pytest.raises(ProcessFailed, match=r"(?s)within 0.5 s.*ready on 42"):
        async with run_process(sys.executable, "-c", SAY_AND_STAY, ready="never", deadline_s=0.5):
            pytest.fail("not ready")


async def test_a_process_that_ends_too_early_fails_at_once() -> None:
    with pytest.raises(ProcessFailed, match=r"(?s)exit code 3.*sorry"):
        async with run_process(sys.executable, "-c", "print('sorry'); raise SystemExit(3)", ready="never"):
            pytest.fail("not ready")


async def test_a_process_that_ignores_sigterm_is_killed_and_told_on() -> None:
    with pytest.raises(ProcessFailed, match="was killed"):
        async with run_process(sys.executable, "-c", DEAF, ready="ready", stop_s=0.2) as process:
            pass
    assert process.returncode == -signal.SIGKILL


async def test_what_a_child_started_itself_is_ended_too() -> None:
    async with run_process(sys.executable, "-c", PARENT, ready="child") as process:
        grandchild = int((await process.wait_for(r"child (\d+)"))[1])
        assert grandchild in descendants(process.pid)
    assert grandchild not in descendants(os.getpid())
    assert not alive(process.pid)


async def test_a_line_longer_than_the_readers_limit_stops_nothing() -> None:
    async with run_process(
        sys.executable, "-c", "import signal; print('x' * 300_000); print('after', flush=True); signal.pause()"
    ) as process:
        await process.wait_for("after")
        assert sum(map(len, process.lines)) == 300_005


async def test_a_command_that_ends_by_itself() -> None:
    done = await run_to_end(sys.executable, "-c", "import sys; print(input()); sys.exit('no')", stdin="hello\n")
    assert (done.code, done.stdout, done.stderr) == (1, "hello\n", "no\n")


async def test_a_command_that_does_not_end_is_killed() -> None:
    with pytest.raises(ProcessFailed, match="did not end"):
        await run_to_end(sys.executable, "-c", SAY_AND_STAY, deadline_s=0.3)


def test_ports_are_different() -> None:
    assert len(set(free_ports(20))) == 20


def test_a_missing_program_names_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    with pytest.raises(ProcessFailed, match="apt-get install mosquitto-clients"):
        program("mosquitto_sub")


LEAVERS = """
import asyncio, socket, subprocess
KEPT = []

async def test_task():
    KEPT.append(asyncio.create_task(asyncio.sleep(1000), name="forgotten"))

def test_process():
    KEPT.append(subprocess.Popen(["sleep", "1000"]))

def test_socket():
    KEPT.append(socket.create_server(("127.0.0.1", 0)))

async def test_tidy():
    server = await asyncio.start_server(lambda r, w: None, "127.0.0.1", 0)
    server.close()
    await server.wait_closed()
    await asyncio.create_task(asyncio.sleep(0))

def test_end():
    KEPT[1].kill(); KEPT[1].wait(); KEPT[2].close()
"""


def test_what_is_left_behind_fails_the_test(pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\nasyncio_mode=auto\nasyncio_default_fixture_loop_scope=function")
    pytester.makeconftest("from tests.conftest import *")
    pytester.makepyfile(LEAVERS)
    result = pytester.runpytest_inprocess("-p", "no:cacheprovider")
    result.assert_outcomes(passed=5, errors=3)
    result.stdout.fnmatch_lines_random(
        ["*left behind: task forgotten*", "*left behind: process * (sleep 1000*", "*left behind: listening socket *"]
    )

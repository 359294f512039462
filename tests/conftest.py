"""What holds for every test: nothing is left behind, time limits by kind, and the same examples on every machine."""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from gateway.logs import LIBRARIES
from tests.support.processes import descendants

settings.register_profile("ci", deadline=None, derandomize=True, database=None)
settings.register_profile("search", deadline=None, max_examples=2_000, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

TIMEOUT_S = {"unit": 20, "contract": 30, "property": 60, "system": 120}
"""By folder, for tests that do not say so themselves."""

HYPOTHESIS_TIMEOUT_S = 120
"""Hypothesis takes the failure by which a signal ends a test for one more failing example, and begins to shrink it: so
these are ended by a thread, which shows all stacks and ends the whole run."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    tests = Path(__file__).parent
    for item in items:
        if getattr(getattr(item, "function", None), "is_hypothesis_test", False):
            item.add_marker(pytest.mark.timeout(HYPOTHESIS_TIMEOUT_S, method="thread"))
        elif item.path.is_relative_to(tests) and item.get_closest_marker("timeout") is None:
            limit = TIMEOUT_S.get(item.path.relative_to(tests).parts[0])
            if limit is not None:
                item.add_marker(pytest.mark.timeout(limit))


@pytest.fixture(autouse=True)
def nothing_left_behind(request: pytest.FixtureRequest) -> Iterator[None]:
    """A test that leaves a task, a child process or a listening socket behind fails.

    What a fixture of a module or of the whole run has started is there before and after, and is no matter.
    """
    if _is_async(request.node):
        request.getfixturevalue("no_task_left_behind")
    children, listeners = _children(), _listeners()
    yield
    left = [f"process {pid} ({_command(pid)})" for pid in _children() - children]
    left += [f"listening socket {address}" for address in sorted(_listeners() - listeners)]
    assert not left, "left behind: " + ", ".join(left)


@pytest.fixture(autouse=True)
def loggers_as_they_were() -> Iterator[None]:
    """A command that a test runs in this process sets up the logs; the next test still hears everything."""
    root = logging.getLogger()
    handlers = list(root.handlers)
    loggers = [root, *map(logging.getLogger, ("gateway", "drivers", *LIBRARIES))]
    levels = [logger.level for logger in loggers]
    yield
    for handler in list(root.handlers):
        if handler not in handlers:
            root.removeHandler(handler)
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)
    logging.captureWarnings(False)


@pytest.fixture
async def no_task_left_behind() -> AsyncIterator[None]:
    """Asked for by ``nothing_left_behind``: made first and so looked at last, after all other fixtures are gone."""
    before = asyncio.all_tasks()
    yield
    this = asyncio.current_task()
    for _ in range(3):  # what was cancelled or told to end a moment ago gets to do so
        await asyncio.sleep(0)
    left = [task for task in asyncio.all_tasks() - before if task is not this]
    assert not left, "left behind: " + ", ".join(f"task {task.get_name()} in {task.get_coro()}" for task in left)


def _is_async(item: pytest.Item) -> bool:
    function = getattr(item, "function", None)
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(getattr(function, "hypothesis", None), "inner_test", None)
    )


def _children() -> frozenset[int]:
    """Everything this process has started, directly or not, ended children that nobody has waited for included."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:  # none at all: the usual case, and a cheap question
        return frozenset()
    return frozenset(descendants(os.getpid()))


def _command(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ").strip()[:100] or "ended, not waited for"
    return "ended"


def _listeners() -> frozenset[str]:
    """The addresses that this process listens on, as the kernel writes them."""
    own = set()
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            own.add(os.readlink(entry).removeprefix("socket:[").removesuffix("]"))
    listening = set()
    for table in ("/proc/self/net/tcp", "/proc/self/net/tcp6"):
        with suppress(FileNotFoundError):
            for row in Path(table).read_text().splitlines()[1:]:
                columns = row.split()
                if columns[3] == "0A" and columns[9] in own:
                    listening.add(f"{columns[1]} (inode {columns[9]})")
    return frozenset(listening)

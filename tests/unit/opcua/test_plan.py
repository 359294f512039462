from __future__ import annotations

import pytest

from drivers.opcua import plan
from gateway.core.contracts import PlanRow
from tests.support.opcua_lines import make_link


def test_a_row_per_device_and_period() -> None:
    tags = [{"name": f"t{n}", "node": f"nsu=urn:x;i={n}", "period_s": 0.5 if n < 3 else 2} for n in range(5)]
    many = [{"name": f"t{n}", "node": f"nsu=urn:x;i={n}", "period_s": 1} for n in range(1200)]
    link = make_link(1, {"a": tags, "b": tags[:1], "c": many}, modes={"b": "poll", "c": "poll"})
    assert plan.describe(link) == (
        PlanRow("a", 0.5, "subscribe 3 items", 3),
        PlanRow("a", 2.0, "subscribe 2 items", 2),
        PlanRow("b", 0.5, "read 1 nodes", 1),
        PlanRow("c", 1.0, "read 1200 nodes in 3 calls", 1200),
    )


@pytest.mark.parametrize(("told", "limit"), [(None, 500), (0, 500), (7, 7), (500, 500), (10_000, 500)])
def test_nodes_per_call_never_exceed_what_the_server_tells_nor_500(told: int | None, limit: int) -> None:
    assert plan.call_limit(told) == limit


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8])
def test_chunks_are_everything_in_order(size: int) -> None:
    pieces = list(plan.chunks(range(7), size))
    assert [i for piece in pieces for i in piece] == list(range(7))
    assert all(1 <= len(piece) <= size for piece in pieces)


@pytest.mark.parametrize("period_s", [0.01, 0.1, 1.0, 7.0, 60.0, 86_400.0])
def test_the_server_must_give_a_sign_of_life_every_ten_seconds_or_every_period(period_s: float) -> None:
    assert plan.keep_alive_count(period_s) * period_s <= max(10.0, period_s)
    assert 1 <= plan.keep_alive_count(period_s) <= 10
    assert plan.LIFETIMES * plan.keep_alive_count(1.0) == 300

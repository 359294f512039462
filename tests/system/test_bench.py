"""The benchmark as a whole, on a small work: every value the farm served is published and stored, once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench import report
from tests.bench.harness import measure
from tests.bench.scenario import PRESETS, changed

pytestmark = pytest.mark.system


async def test_every_value_of_the_farm_arrives_once(tmp_path: Path) -> None:
    scenario = changed(PRESETS["start"], devices=3, tags=70, rate_hz=10, seconds=1, warm_up_s=0.5)
    result = await measure(scenario, tmp_path)
    assert (result.lost, result.twice, result.gaps, result.writes) == (0, 0, 0, 0)
    assert result.published == result.stored == result.offered
    assert result.offered >= 3 * 70 * 10
    assert result.accepted == result.offered + result.bad
    assert result.used.cpu_s > 0
    assert all(0 < period < 1000 for period in result.period_ms)
    assert result.first_value_s <= result.all_values_s
    assert "lost / twice / gaps  0 / 0 / 0" in report.table(result)
    assert report.record([result]).count("\n| start:") == 1

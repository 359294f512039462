"""``pilot-gateway browse`` against another implementation of OPC UA."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import pytest
import yaml

from drivers.opcua.browse import Found, browse
from drivers.opcua.nodes import parse
from drivers.opcua.session import open_session
from gateway.cli.browse import _options, as_csv, as_yaml, tags_of
from gateway.settings import load_line_file
from tests.support.opcua_foreign import URI, SharedServer
from tests.support.processes import gateway_command, run_to_end

pytestmark = [pytest.mark.system, pytest.mark.timeout(400)]  # node-opcua takes its time to start


async def test_variables_of_a_foreign_server(server: SharedServer) -> None:
    progress: list[int] = []
    session = await open_session("browse", _options(f"opc.tcp://127.0.0.1:{server.port}/foreign", None))
    try:
        found = await browse(session, 10, progress.append)
    finally:
        await session.close()
    by_node = {each.node: each for each in found}
    assert len(by_node) == len(found), "each once"
    assert sum(each.path[-1].startswith("Counter") for each in found) == 998
    double = by_node[f"nsu={URI};s=Double"]
    assert (double.type, double.value, double.path[-1]) == ("Double", 1.25, "Double")
    assert by_node[f"nsu={URI};s=Array"].type == "Double[]"
    analog = by_node[f"nsu={URI};s=Analog"]
    assert (analog.type, analog.value, analog.unit) == ("Double", 80.5, "Cel")
    assert progress
    assert progress[-1] == len(found)
    rows = list(csv.DictReader(io.StringIO(as_csv(found))))
    assert len({row["name"] for row in rows}) == len(rows) > 998
    assert {"name": "double", "node": f"nsu={URI};s=Double", "kind": "float", "unit": ""} in rows
    for row in rows:
        parse(row["node"])
    assert as_yaml(found).count("\n") == len(rows) + 1


async def test_from_the_server_into_a_line_file_and_back_to_its_values(server: SharedServer, tmp_path: Path) -> None:
    """What a technician types: browse, tags import, read."""
    line, sheet = tmp_path / "pl1.yaml", tmp_path / "tags.csv"
    endpoint = f"opc.tcp://127.0.0.1:{server.port}/foreign"
    device = {"id": "reactor", "period_s": 1, "tags": [{"name": "old", "node": f"nsu={URI};s=Double"}]}
    link = {"id": "plc", "type": "opcua", "endpoint": endpoint, "security": {"policy": "None"}, "devices": [device]}
    line.write_text("# stays\n" + yaml.safe_dump({"site": "wuxi", "line": "pl1", "links": [link]}, sort_keys=False))
    browsed = await run_to_end(*gateway_command("browse", str(line), "--filter", "a", "-o", str(sheet)))
    count = re.search(r"tags\.csv: (\d+) tags; \d+ variables left out, which no tag can take", browsed.stdout)
    assert count, browsed
    imported = await run_to_end(*gateway_command("tags", "import", str(sheet), str(line)))
    assert re.search(rf"^{count[1]} added, 0 changed, 1 removed$", imported.stdout, re.MULTILINE), imported
    assert line.read_text().startswith("# stays\n")
    (written,) = load_line_file(line).links[0].devices
    assert len(written.tags) == int(count[1]) > 5
    patient = ("--timeout", "60", "--format", "json")
    read = json.loads((await run_to_end(*gateway_command("read", str(line), *patient), deadline_s=90)).stdout)
    values = {each["tag"]: (each["value"], each["quality"]) for each in read["readings"]}
    assert len(values) == int(count[1])
    assert (values["analog"], values["boolean"]) == ((80.5, "good"), (True, "good"))


def test_ten_thousand_nodes_of_one_name_are_ten_thousand_tags() -> None:
    found = [Found(("Line", f"Device{n}", "Value"), f"nsu={URI};i={n}", "Double") for n in range(10_000)]
    tags = tags_of(found)
    assert len({tag["name"] for tag in tags}) == 10_000
    assert [tag["name"] for tag in tags[:3]] == ["value", "value_2", "value_3"]

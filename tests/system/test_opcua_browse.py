"""``pilot-gateway browse`` against another implementation of OPC UA."""

from __future__ import annotations

import csv
import io

import pytest

from drivers.opcua.browse import browse
from drivers.opcua.nodes import parse
from drivers.opcua.session import open_session
from gateway.cli.browse import _options, as_csv, as_yaml
from tests.support.opcua_foreign import URI, SharedServer

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

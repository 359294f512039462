"""What a server has: its variables with path, address, type, value and unit, for ``pilot-gateway browse``.

In: an open session. Out: Found, one per variable, each once, however many parents it has. Breadth first, many nodes per
call; a node that cannot be browsed or read costs itself only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from drivers.opcua import plan
from drivers.opcua.library import ua
from drivers.opcua.nodes import text_of
from drivers.opcua.paths import CALL_LIMIT, references
from drivers.opcua.requests import ReadRequest
from drivers.opcua.session import Session
from drivers.opcua.units import UNECE, ucum
from drivers.opcua.wire import ARRAY, MATRIX
from gateway.core.model import Kind

OBJECTS = ua.NodeId(ua.ObjectIds.ObjectsFolder)
SERVER = ua.NodeId(ua.ObjectIds.Server)  # its own thousand nodes are about itself
UNITS = "EngineeringUnits"

KINDS = {
    **dict.fromkeys(("Float", "Double"), Kind.FLOAT),
    **dict.fromkeys(("SByte", "Byte", "Int16", "UInt16", "Int32", "UInt32", "Int64", "UInt64"), Kind.INT),
    **dict.fromkeys(("String", "LocalizedText", "DateTime", "Guid"), Kind.TEXT),
    "Boolean": Kind.BOOL,
}


@dataclass(slots=True)
class Found:
    """One variable."""

    path: tuple[str, ...]  # browse names from Objects on
    node: str  # as in a line file
    type: str = ""  # what the value is at the moment; [] behind it for an array
    value: object = None
    unit: str = ""  # UCUM; empty: not told, or not known


@dataclass(slots=True)
class _Walk:
    variables: dict[Any, tuple[str, ...]] = field(default_factory=dict)  # NodeId → path
    units: dict[Any, Any] = field(default_factory=dict)  # NodeId → NodeId of its EngineeringUnits
    seen: set[Any] = field(default_factory=lambda: {OBJECTS, SERVER})


async def browse(session: Session, depth: int, progress: Callable[[int], None]) -> list[Found]:
    """Every variable at most ``depth`` steps below Objects. Raises DriverError."""
    walk = _Walk()
    level: dict[Any, tuple[str, ...]] = {OBJECTS: ()}
    for _ in range(depth):
        following: dict[Any, tuple[str, ...]] = {}
        for nodes in plan.chunks(list(level), CALL_LIMIT):
            for node, found in zip(nodes, await references(session, nodes), strict=True):
                _sort(node, level[node], found, walk, following)
            progress(len(walk.variables))
        level = following
        if not level:
            break
    known = len(session.namespaces)  # an index beyond is a mistake of the server
    walk.variables = {node: path for node, path in walk.variables.items() if node.NamespaceIndex < known}
    found = [Found(path, text_of(node.Identifier, session.namespaces[node.NamespaceIndex]))
             for node, path in walk.variables.items()]  # fmt: skip
    await _read_values(session, list(walk.variables), found)
    await _read_units(session, walk, found)
    return found


def _sort(
    node: Any, path: tuple[str, ...], references: Any, walk: _Walk, following: dict[Any, tuple[str, ...]]
) -> None:
    for reference in references:
        # an ExpandedNodeId of this server becomes a NodeId
        child = ua.NodeId(reference.NodeId.Identifier, reference.NodeId.NamespaceIndex)
        name = str(reference.BrowseName.Name)
        if reference.ReferenceTypeId.Identifier == ua.ObjectIds.HasProperty:
            if name == UNITS:
                walk.units[node] = child
            continue
        if child in walk.seen:
            continue
        walk.seen.add(child)
        following[child] = (*path, name)
        if reference.NodeClass == ua.NodeClass.Variable:
            walk.variables[child] = (*path, name)


async def _read_values(session: Session, nodes: list[Any], found: list[Found]) -> None:
    at = 0
    for piece in plan.chunks(nodes, plan.call_limit(session.nodes_per_read)):
        columns = await session.read(ReadRequest(piece))
        for kind, value in zip(columns.types, columns.values, strict=True):
            plain = kind & ~(ARRAY | MATRIX)
            name = ua.VariantType(plain).name if 0 < plain <= 25 else ""
            found[at].type, found[at].value = name + ("[]" if kind & ARRAY else ""), value
            at += 1


async def _read_units(session: Session, walk: _Walk, found: list[Found]) -> None:
    by_node = dict(zip(walk.variables, found, strict=True))
    wanted = [(by_node[node], unit) for node, unit in walk.units.items() if node in by_node]
    for piece in plan.chunks(wanted, plan.call_limit(session.nodes_per_read)):
        columns = await session.read(ReadRequest([unit for _, unit in piece]))
        for (variable, _), told in zip(piece, columns.values, strict=True):
            if isinstance(told, ua.EUInformation):
                variable.unit = ucum(told.UnitId, str(told.DisplayName.Text or ""), str(told.NamespaceUri or UNECE))

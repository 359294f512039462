"""Nodes that are found by walking from other nodes: what they refer to, and where a browse path ends.

In: nodes of this session. Out: their references, or NodeIds; a node that cannot be browsed costs itself only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from drivers.opcua import plan
from drivers.opcua.library import ua
from drivers.opcua.session import Session
from gateway.core.errors import ProtocolError

CALL_LIMIT = 100  # nodes in one Browse; an answer holds all their children

Way = tuple[Any, Sequence[Any]]  # NodeId to start from, QualifiedNames

PROPERTY = ua.NodeId(ua.ObjectIds.HasProperty)
DOWN = ua.NodeId(ua.ObjectIds.HierarchicalReferences)


async def references(
    session: Session,
    nodes: Sequence[Any],
    kind: Any = DOWN,
    direction: Any = ua.BrowseDirection.Forward,
    classes: int = ua.NodeClass.Object | ua.NodeClass.Variable,
) -> list[list[Any]]:
    """The ReferenceDescriptions of each node (n,) to nodes of these classes; ``kind``: of this type or a subtype."""
    request = ua.BrowseRequest()
    request.Parameters.RequestedMaxReferencesPerNode = 1000
    request.Parameters.NodesToBrowse = [
        ua.BrowseDescription(
            NodeId=node,
            BrowseDirection=direction,
            ReferenceTypeId=kind,
            IncludeSubtypes=True,
            NodeClassMask=classes,
            ResultMask=ua.BrowseResultMask.All,
        )
        for node in nodes
    ]
    answer: Any = await session.call(request, ua.BrowseResponse)
    found = [list(result.References or ()) for result in answer.Results]
    rest = [(i, result.ContinuationPoint) for i, result in enumerate(answer.Results) if result.ContinuationPoint]
    while rest:
        more = ua.BrowseNextRequest()
        more.Parameters.ReleaseContinuationPoints = False
        more.Parameters.ContinuationPoints = [point for _, point in rest]
        answer = await session.call(more, ua.BrowseNextResponse)
        results = answer.Parameters.Results
        for (i, _), result in zip(rest, results, strict=False):
            found[i] += result.References or ()
        rest = [
            (i, result.ContinuationPoint)
            for (i, _), result in zip(rest, results, strict=False)
            if result.ContinuationPoint
        ]
    return found + [[]] * (len(nodes) - len(found))


async def follow(session: Session, ways: Sequence[Way], references: Any = DOWN) -> list[Any]:
    """Where each way ends, (n,): a NodeId, or None where it leads nowhere or is ambiguous.

    ``references``: the type to walk along, subtypes included.
    """
    found: list[Any] = []
    for piece in plan.chunks(ways, plan.call_limit(session.nodes_per_translate)):
        request = ua.TranslateBrowsePathsToNodeIdsRequest()
        request.Parameters.BrowsePaths = [_path(start, names, references) for start, names in piece]
        answer: Any = await session.call(request, ua.TranslateBrowsePathsToNodeIdsResponse)
        if len(answer.Results) != len(piece):
            raise ProtocolError(f"{session.peer}: asked for {len(piece)} paths, got {len(answer.Results)}")
        found += map(_end, answer.Results)
    return found


def _path(start: Any, names: Sequence[Any], references: Any) -> Any:
    elements = [
        ua.RelativePathElement(ReferenceTypeId=references, IsInverse=False, IncludeSubtypes=True, TargetName=name)
        for name in names
    ]
    return ua.BrowsePath(StartingNode=start, RelativePath=ua.RelativePath(Elements=elements))


def _end(result: Any) -> Any:
    """The node a result names. Where several bear the name, nobody can say which one is meant: none."""
    if not result.StatusCode.is_good():
        return None
    ends = {
        ua.NodeId(target.TargetId.Identifier, target.TargetId.NamespaceIndex)
        for target in result.Targets or ()
        if target.RemainingPathIndex == 0xFFFF_FFFF
        and not getattr(target.TargetId, "ServerIndex", 0)  # only an expanded one has it
    }
    return ends.pop() if len(ends) == 1 else None

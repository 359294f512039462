"""The OPC UA simulator, starting and stopping in a tenth of the time: the standard address space is built once."""

from __future__ import annotations

import functools
from typing import Any

from asyncua.server.address_space import AddressSpace, AttributeValue, NodeData, NodeManagementService
from asyncua.server.internal_server import InternalServer
from asyncua.server.standard_address_space import standard_address_space

from drivers.opcua.library import Server, ua
from drivers.opcua.simulator import OpcUaSimulator


class QuickSimulator(OpcUaSimulator):
    """As OpcUaSimulator, for tests that start many."""

    async def say_service_level(self, level: int) -> None:
        """How healthy it says it is, 0 … 255."""
        node = self._server.get_node(ua.NodeId(ua.ObjectIds.Server_ServiceLevel))
        await node.write_value(ua.Variant(level, ua.VariantType.Byte))

    def _new_server(self) -> Any:
        server = Server(iserver=_QuickServer())
        server.disable_clock()  # or stopping waits for its next second
        return server


class _QuickServer(InternalServer):
    async def load_standard_address_space(self, shelf_file: object = None) -> None:
        pristine = _standard()
        for key in pristine.keys():  # noqa: SIM118 – not a dict
            self.aspace[key] = _copy(pristine[key])


@functools.cache
def _standard() -> AddressSpace:
    space = AddressSpace()
    standard_address_space.fill_address_space(NodeManagementService(space))  # type: ignore[no-untyped-call]
    return space


def _copy(node: NodeData) -> NodeData:
    """What a server changes is copied: the list of references and the boxes that values lie in."""
    copy = NodeData(node.nodeid)
    copy.references = list(node.references)
    for attribute, value in node.attributes.items():
        assert value.value is not None
        copy.attributes[attribute] = AttributeValue(value.value)
    return copy

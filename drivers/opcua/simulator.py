"""Plays the devices of an OPC UA link: an asyncua server with the nodes that the line file names.

In: the link, and values with ``set``. Out: OPC UA on loopback, with the namespaces, node ids and security of the link,
and source times of the moment of ``set``. The nodes are read-only, as far as clients go.
"""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from drivers.opcua import pki
from drivers.opcua.library import CallbackType, Server, ua
from drivers.opcua.nodes import Way, index_of, parse
from drivers.opcua.options import Address, OpcUa
from drivers.opcua.quiet import hush
from gateway.core.model import Kind, Link, Tag, Value

log = logging.getLogger(__name__)

_TYPES: Mapping[Kind, tuple[Any, Value]] = {
    Kind.FLOAT: (ua.VariantType.Double, 0.0),
    Kind.INT: (ua.VariantType.Int64, 0),
    Kind.BOOL: (ua.VariantType.Boolean, False),
    Kind.TEXT: (ua.VariantType.String, ""),
}
"""What a node of a tag holds, and what it says before the first ``set``."""


class OpcUaSimulator:
    """One simulated server; see ``gateway.core.contracts.Simulator``.

    ``namespaces_first`` come before those of the link, as after a download that added some: every index moves.
    """

    def __init__(self, link: Link, *, namespaces_first: Sequence[str] = ()) -> None:
        if not isinstance(link.options, OpcUa):
            raise TypeError(f"link {link.id} is not an OPC UA link")
        self._link = link
        self._options = link.options
        self._namespaces_first = tuple(namespaces_first)
        self._server: Any = None
        self._nodes: dict[str, dict[str, tuple[Tag, Any]]] = {}  # device id → tag name → tag, NodeId or None
        self._folders: dict[tuple[tuple[str, str], ...], Any] = {}  # begin of a way → node
        self._arrays: dict[Any, list[Value]] = {}  # NodeId → what it holds, where tags are elements of it
        self._waiting: asyncio.Queue[list[tuple[Any, Any]]] = asyncio.Queue()
        self._writer: asyncio.Task[None] | None = None
        self._writes = 0
        hush()

    @property
    def port(self) -> int:
        """Where it listens, once started."""
        return int(self._server.bserver.port) if self._server else urlsplit(self._options.endpoint).port or 4840

    @property
    def writes(self) -> int:
        """Write requests of clients; all were refused."""
        return self._writes

    # ------------------------------------------------------------------------------------------------ lifetime

    async def start(self) -> None:
        """Make the nodes and listen."""
        server = self._new_server()
        with _no_garbage_collection():
            await server.init()
        server.set_server_name("Pilot Gateway simulator")
        parts = urlsplit(self._options.endpoint)
        server.set_endpoint(self._options.endpoint)
        server.socket_address = (parts.hostname or "127.0.0.1", 4840 if parts.port is None else parts.port)
        await self._protect(server)
        server.subscribe_server_callback(CallbackType.PreWrite, self._count)
        await self._make_nodes(server)
        await server.start()
        self._server = server
        self._writer = asyncio.create_task(self._write(), name=f"simulator of {self._link.id}: write")

    async def close(self) -> None:
        """Stop listening and let go of everything."""
        server, self._server = self._server, None
        if self._writer is not None:
            self._writer.cancel()
            await asyncio.wait([self._writer])
            self._writer = None
        if server is None:
            return
        # asyncua keeps sessions of clients that are gone, with their tasks, so that they may come back
        for session in list(server.iserver._external_sessions.values()):  # noqa: SLF001
            await session.close_session(True)
        await server.stop()

    def _new_server(self) -> Any:
        return Server()

    async def _protect(self, server: Any) -> None:
        security = self._options.security
        if security.policy == "None":
            server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
            return
        own = await asyncio.to_thread(pki.own, Path(self._options.pki) / "simulator", "pilot-gateway-simulator")
        await server.load_certificate(own.certificate)
        await server.load_private_key(own.key)
        await server.set_application_uri(own.uri)
        server.set_security_policy([ua.SecurityPolicyType[f"{security.policy.replace('_', '')}_{security.mode}"]])

    async def _make_nodes(self, server: Any) -> None:
        for uri in self._namespaces_first:
            await server.register_namespace(uri)
        for device in self._link.devices:
            nodes = self._nodes[device.id] = {}
            if any(_address(tag).path for tag in device.tags):
                raise ValueError(f"{device.id}: fields of structures are not simulated")
            folder: Any = None
            for tag in device.tags:
                node = parse(_address(tag).node)
                if isinstance(node, Way):
                    nodes[tag.name] = (tag, await self._walk(server, node, tag))
                    continue
                if isinstance(node.namespace, str):
                    await server.register_namespace(node.namespace)
                index = index_of(node, await server.get_namespace_array())
                if index is None:
                    raise ValueError(f"{device.id}.{tag.name}: write the node with nsu= so that it can be simulated")
                if index == 0:  # the server's own, such as its clock
                    nodes[tag.name] = (tag, None)
                    continue
                if folder is None:
                    folder = await server.nodes.objects.add_object(
                        ua.NodeId(f"simulated.{device.id}", index), device.id
                    )
                kind, value = _TYPES[tag.kind]
                node_id = ua.NodeId(node.identifier, index)
                nodes[tag.name] = (tag, node_id)
                element = _address(tag).element
                if element is None:
                    await folder.add_variable(node_id, tag.name, ua.Variant(value, kind))
                    continue
                array = self._arrays.get(node_id)
                if array is None:
                    array = self._arrays[node_id] = []
                    await folder.add_variable(node_id, tag.name, ua.Variant([], kind, is_array=True))
                array += [value] * (element + 1 - len(array))

    async def _walk(self, server: Any, way: Way, tag: Tag) -> Any:
        """Make what is missing of a way, and the variable at its end; its NodeId says nothing that is in the way."""
        if _address(tag).element is not None:
            raise ValueError(f"{tag.name}: an element of an array is simulated where node is written with nsu=")
        place = server.nodes.objects
        for i, (uri, name) in enumerate(way.steps, 1):
            index = await server.register_namespace(uri)
            key = way.steps[:i]
            if i == len(way.steps):
                kind, value = _TYPES[tag.kind]
                variable = await place.add_variable(index, name, ua.Variant(value, kind))
                return variable.nodeid
            if key not in self._folders:
                self._folders[key] = await place.add_object(index, name)
            place = self._folders[key]
        raise AssertionError("a way has a step")

    # -------------------------------------------------------------------------------------------------- values

    def set(self, device: str, values: Mapping[str, Value]) -> None:
        """Let the tags of a device have these engineering values from the next request on; None: a broken sensor."""
        now = datetime.now(UTC)
        nodes = self._nodes[device]
        self._waiting.put_nowait(
            [
                (node, self._in_array(node, tag, _data_value(tag, value, now)))
                for (tag, node), value in ((nodes[name], value) for name, value in values.items())
                if node is not None
            ]
        )

    def _in_array(self, node: Any, tag: Tag, data: Any) -> Any:
        """The whole array with a new value of the tag, where the tag is an element of one."""
        element = _address(tag).element
        if element is None or data.Value.Value is None:
            return data
        array = self._arrays[node]
        array[element] = data.Value.Value
        data.Value = ua.Variant(list(array), data.Value.VariantType, is_array=True)
        return data

    async def _write(self) -> None:
        """One task for all values: asyncua's way of writing is a coroutine, though it hardly ever waits."""
        while True:
            for node, value in await self._waiting.get():
                status = await self._server.write_attribute_value(node, value)
                if status is not None and not status.is_good():
                    log.error("simulator of %s: node %s refuses a value: %s", self._link.id, node, status.name)

    async def _count(self, event: Any, dispatcher: Any) -> None:
        self._writes += bool(event.is_external)


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """The standard address space is made of a million objects that stay; collecting triples the time."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _data_value(tag: Tag, value: Value, now: datetime) -> Any:
    """The wire value: scaling undone."""
    if value is None:
        status = ua.StatusCode(ua.StatusCodes.BadSensorFailure)
        return ua.DataValue(StatusCode=status, SourceTimestamp=now, ServerTimestamp=now)
    if tag.kind is Kind.FLOAT:
        value = (float(value) - tag.offset) / tag.scale
    return ua.DataValue(ua.Variant(value, _TYPES[tag.kind][0]), SourceTimestamp=now, ServerTimestamp=now)


def _address(tag: Tag) -> Address:
    if not isinstance(tag.address, Address):
        raise TypeError(f"tag {tag.name} is not an OPC UA tag")
    return tag.address

"""The Driver of OPC UA links: connect, read the polled groups, listen to the pushed ones.

In: a Link. Out: Scans. ``session`` talks to the server, ``decode`` turns answers into Scans, ``subscribe`` keeps the
subscriptions, ``plan`` says how many and how deep; this file puts them together.

The way of one connection: open the session → learn namespaces and limits → resolve every address against them → read
the units, ranges and names that the line file leaves open → create one subscription per period → what the server does
not take is polled.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from drivers.opcua import plan
from drivers.opcua.decode import Part, Slot, pick, scan_of
from drivers.opcua.definitions import load
from drivers.opcua.failures import ServiceFault
from drivers.opcua.learn import asks, learn, taught
from drivers.opcua.library import ua
from drivers.opcua.nodes import Way, index_of, indexes_of, parse, parse_path
from drivers.opcua.options import Address, OpcUa
from drivers.opcua.paths import follow
from drivers.opcua.quiet import hush
from drivers.opcua.redundancy import Servers
from drivers.opcua.requests import ReadRequest
from drivers.opcua.session import Session
from drivers.opcua.structures import Definitions
from drivers.opcua.subscribe import TOO_MANY, Subscriptions, is_one_of, without
from drivers.opcua.wire import NO_TIME, Columns
from gateway.core.clock import Clock
from gateway.core.errors import Unavailable
from gateway.core.model import Device, Group, Kind, Link, Scan, Tag, groups
from gateway.core.quality import Status

log = logging.getLogger(__name__)


class OpcUaDriver:
    """One OPC UA session; see ``gateway.core.contracts.Driver``."""

    def __init__(self, link: Link, clock: Clock) -> None:
        if not isinstance(link.options, OpcUa):
            raise TypeError(f"link {link.id} is not an OPC UA link")
        self._link = link
        self._options = link.options
        self._clock = clock
        self._arrange(link.devices)
        self._servers = Servers(link.id, link.options)
        self._session: Session | None = None
        self._subscriptions: Subscriptions | None = None
        self._nodes: dict[tuple[str, int], Any] = {}  # (device path, tag index) → NodeId of this session
        self._requests: dict[Group, list[ReadRequest]] = {}
        self._parts: dict[Group, dict[int, Part]] = {}  # position in the group → part of the value
        self._definitions: Definitions = {}  # of the structures that tags are fields of
        self._read_limit = plan.CALL_LIMIT
        self._said: set[str] = set()  # what was logged once for this driver
        hush()

    @property
    def polled(self) -> tuple[Group, ...]:
        """The groups to ``read``."""
        return self._polled

    @property
    def pushed(self) -> tuple[Group, ...]:
        """The groups that ``listen`` delivers."""
        return self._pushed

    @property
    def overflows(self) -> int:
        """Values of this session before which the server had to drop others."""
        return self._subscriptions.overflows if self._subscriptions else 0

    def _arrange(self, devices: tuple[Device, ...]) -> None:
        """Group the tags of these devices: the configured ones, or what the server has completed them to."""
        self._devices = devices
        arranged = [(device, group) for device in devices if device.enabled for group in groups(device)]
        self._wanted_polled = tuple(group for device, group in arranged if not plan.subscribes(device))
        self._wanted_pushed = tuple(group for device, group in arranged if plan.subscribes(device))
        self._polled, self._pushed = self._wanted_polled, self._wanted_pushed

    # ------------------------------------------------------------------------------------------- connect, close

    async def connect(self) -> None:
        """Open a session, resolve every address in it, subscribe."""
        await self.close()
        session = self._session = await self._servers.open()
        try:
            self._read_limit = plan.call_limit(session.nodes_per_read)
            self._requests.clear()
            self._parts.clear()
            await self._resolve(session)
            await self._define(session)
            await self._learn(session)
            await self._subscribe(session)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Let go of everything."""
        session, self._session, self._subscriptions = self._session, None, None
        if session is not None:
            await session.close()

    async def _resolve(self, session: Session) -> None:
        """Find each tag's NodeId in this session: namespace indexes may have moved since the last one (F17)."""
        self._nodes.clear()
        ways: dict[tuple[str, int], Any] = {}
        for group in self._wanted_polled + self._wanted_pushed:
            for i in group.index:
                address = parse(_address(group.device.tags[i]).node)
                if isinstance(address, Way):
                    steps = indexes_of(address, session.namespaces)
                    if steps is not None:
                        ways[group.device.path, i] = (OBJECTS, [ua.QualifiedName(name, index) for index, name in steps])
                        continue
                else:
                    index = index_of(address, session.namespaces)
                    if index is not None:
                        self._nodes[group.device.path, i] = ua.NodeId(address.identifier, index)
                        continue
                self._say_once(
                    f"{session.peer}: the server lacks the namespace of the address of "
                    f"{group.device.id}.{group.device.tags[i].name}, and maybe of others: "
                    f"{_address(group.device.tags[i]).node}"
                )
        devices = {device.path: device for device in self._devices}
        for tag, node in zip(ways, await follow(session, list(ways.values())), strict=True):
            if node is not None:
                self._nodes[tag] = node
            else:
                path, i = tag
                lost = devices[path].tags[i]
                self._say_once(
                    f"{session.peer}: the path of {path}/{lost.name} leads to no node, or to more than one: "
                    f"{_address(lost).node}"
                )

    def _part(self, address: Address) -> Part | None:
        if address.element is None and not address.path:
            return None
        return Part(address.element, parse_path(address.path) if address.path else (), self._definitions)

    async def _define(self, session: Session) -> None:
        """Read how the structures lie in their bytes that tags are fields of: they may have changed since (F22)."""
        fields = [
            self._nodes[device.path, i]
            for device in self._devices
            for i, tag in enumerate(device.tags)
            if _address(tag).path and (device.path, i) in self._nodes
        ]
        try:
            self._definitions = await load(session, list(dict.fromkeys(fields))) if fields else {}
        except ServiceFault as e:
            self._say_once(f"{e}: the server does not say how its structures are built, their fields have no value")
            self._definitions = {}

    async def _learn(self, session: Session) -> None:
        """Complete the devices with what the server says of units, ranges and enumerations and the file does not.

        What it said in an earlier session holds until it says something else, so that a series keeps its unit.
        """
        places = [
            (device, i, self._nodes[self._link.devices[device].path, i])
            for device, configured in enumerate(self._link.devices)
            for i, tag in enumerate(configured.tags)
            if asks(tag) and not _address(tag).path and (configured.path, i) in self._nodes
        ]
        nodes: dict[Any, bool] = {}
        for device, i, node in places:
            tag = self._link.devices[device].tags[i]
            nodes[node] = nodes.get(node, False) or (tag.kind is Kind.INT and not tag.enum)
        try:
            said = await learn(session, nodes)
        except ServiceFault as e:
            log.info("%s: the server does not say what its values mean", e)
            return
        learnt = [list(device.tags) for device in self._devices]
        for device, i, node in places:
            tag = self._link.devices[device].tags[i]
            learnt[device][i] = taught(tag, learnt[device][i], said[node])
            if said[node].sign and not tag.unit_given:
                self._say_once(
                    f"{session.peer}: no UCUM code is known for the unit {said[node].sign!r} of "
                    f"{self._devices[device].id}.{tag.name}: give unit in the line file"
                )
        devices = tuple(
            device if device.tags == tuple(new) else replace(device, tags=tuple(new))
            for device, new in zip(self._devices, learnt, strict=True)
        )
        if any(new is not old for new, old in zip(devices, self._devices, strict=True)):
            self._arrange(devices)

    async def _subscribe(self, session: Session) -> None:
        devices = self._devices
        subscriptions = self._subscriptions = Subscriptions(session, self._clock, devices)
        position = {device.path: i for i, device in enumerate(devices)}
        rates: dict[int, dict[Slot, Any]] = {}
        for group in self._wanted_pushed:
            device = position[group.device.path]
            for i in group.index:
                slot = Slot(device, i, self._part(_address(group.device.tags[i])))
                node = self._nodes.get((group.device.path, i))
                if node is None:
                    subscriptions.failed.setdefault(device, {})[i] = Status.BAD_NODE_ID_UNKNOWN
                else:
                    rates.setdefault(group.period_ns, {})[slot] = node
        refused: list[Slot] = []
        for period_ns, nodes in sorted(rates.items()):
            refused += await subscriptions.add(period_ns / 1e9, nodes)
        pushed, polled = [], list(self._wanted_polled)
        for group in self._wanted_pushed:
            kept, gone = without(group, refused, position[group.device.path])
            if kept:
                pushed.append(kept)
            if gone:
                polled.append(gone)
        self._pushed, self._polled = tuple(pushed), tuple(polled)
        if refused:
            self._say_once(f"{session.peer} does not take all subscriptions: {len(refused)} tags are polled instead")

    # ------------------------------------------------------------------------------------------------ read, listen

    async def read(self, group: Group) -> Scan:
        """One poll: as many Read calls as the server's limits need, answered in the order of ``group.index``."""
        session = self._session
        if session is None:
            raise Unavailable(f"{self._link.id}: not connected")
        data = await self._read_all(session, group)
        if group not in self._parts:
            parts = [self._part(_address(tag)) for tag in group.tags]
            self._parts[group] = {i: part for i, part in enumerate(parts) if part is not None}
        pick(data, self._parts[group])
        return scan_of(group.device, group.index, data, self._clock.time_ns())

    async def _read_all(self, session: Session, group: Group) -> Columns:
        nodes = [self._nodes.get((group.device.path, i)) for i in group.index]
        while True:
            requests = self._requests.get(group)
            if requests is None:
                known = [node for node in nodes if node is not None]
                requests = [ReadRequest(piece) for piece in plan.chunks(known, self._read_limit)]
                self._requests[group] = requests
            try:
                answers = Columns()
                for request in requests:
                    answers.extend(await session.read(request))
                break
            except ServiceFault as e:
                if not is_one_of(e.code, TOO_MANY) or self._read_limit == 1:
                    raise
                self._read_limit = max(1, min(self._read_limit, len(group.index)) // 2)
                self._requests.clear()
                self._say_once(f"{e}: reading at most {self._read_limit} nodes per call from now on")
        if len(answers) == len(nodes):
            return answers
        answered = iter(range(len(answers)))
        answers.append(*_UNKNOWN)
        return answers.take([len(answers) - 1 if node is None else next(answered) for node in nodes])

    async def listen(self, emit: Callable[[Scan], None]) -> None:
        """Emit every notification until the link is lost."""
        if not self._pushed:
            return
        if self._subscriptions is None:
            raise Unavailable(f"{self._link.id}: not connected")
        await self._subscriptions.listen(emit)

    def _say_once(self, sentence: str) -> None:
        if sentence not in self._said:
            self._said.add(sentence)
            log.warning("%s", sentence)


OBJECTS = ua.NodeId(ua.ObjectIds.ObjectsFolder)
_UNKNOWN = (0, None, int(Status.BAD_NODE_ID_UNKNOWN), NO_TIME, NO_TIME)
"""The answer about a node of a namespace that the server does not have."""


def _address(tag: Tag) -> Address:
    if not isinstance(tag.address, Address):
        raise TypeError(f"tag {tag.name} is not an OPC UA tag")
    return tag.address

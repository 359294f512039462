"""What the API says, as plain dictionaries. Pure: Board, Health and Journal in, JSON-able data out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gateway.api.answers import age_s, milliseconds, reading
from gateway.core.contracts import Board, Count, CursorStats, DeviceState, Gap, JournalStats
from gateway.core.model import Device, Link, Tag
from gateway.health import ClockHealth, ConfigHealth, Health, LinkHealth, SinkHealth, State

NOTHING = CursorStats(Count(), Count(), Count(), Count(), Count())  # a cursor before its first record


def live(board: Board, entries: Iterable[DeviceState], now_ns: int) -> dict[str, Any]:
    """The newest values of the given devices."""
    return {
        "time": milliseconds(now_ns),
        "devices": [_live_device(board, entry, now_ns) for entry in entries],
    }


def _live_device(board: Board, entry: DeviceState, now_ns: int) -> dict[str, Any]:
    device = entry.device
    run, phase = board.run(device)
    return {
        "device": device.path,
        "state": entry.state,
        "run": run or None,
        "phase": phase or None,
        "tags": [
            {**reading(tag, value, status, time_ns), "age_s": age_s(time_ns, now_ns)}
            for tag, (value, status, time_ns) in zip(device.tags, board.newest(device).rows, strict=True)
        ],
    }


def devices(board: Board, links: Sequence[Link]) -> dict[str, Any]:
    """Every device: what it is, where it is, how it is doing."""
    places = {device.path: (link, device) for link in links for device in link.devices}
    return {"devices": [_device(entry, *places.get(entry.device.path, (None, None))) for entry in board.states()]}


def _device(entry: DeviceState, link: Link | None, configured: Device | None) -> dict[str, Any]:
    device = entry.device
    return {
        "device": device.path,
        "site": device.site,
        "area": device.area or None,
        "line": device.line,
        "id": device.id,
        "equipment": device.equipment or None,
        "names": dict(device.names),
        "template": device.template or None,
        "manufacturer": device.manufacturer or None,
        "model": device.model or None,
        "enabled": device.enabled,
        "state": entry.state,
        "since": milliseconds(entry.since_ns),
        "error": entry.error or None,
        "link": link.id if link else None,
        "address": address(link, configured) if link and configured else None,
        "tags": [_tag(tag) for tag in device.tags],
    }


def _tag(tag: Tag) -> dict[str, Any]:
    return {
        "tag": tag.name,
        "kind": tag.kind,
        "unit": tag.unit,
        "names": dict(tag.names),
        "description": tag.description or None,
        "low": tag.low,
        "high": tag.high,
        "wrap": tag.wrap,
        "enum": {str(number): name for number, name in tag.enum.items()},
        "bits": {str(bit): name for bit, name in tag.bits.items()},
        "period_s": tag.period_ns / 1e9,
    }


def address(link: Link, device: Device | None = None) -> str:
    """Where a link goes, or a device of it: ``modbus-tcp://10.0.0.7:502/3``, ``opc.tcp://plc:4840``.

    The options of a link are the driver's own; these few words mean the same in all of them.
    """
    options = link.options
    endpoint = getattr(options, "endpoint", None)
    if endpoint is None:
        host, port = getattr(options, "host", ""), getattr(options, "port", "")
        endpoint = f"{link.type}://{host}:{port}" if host else f"{link.type}:{port}"  # a serial port has no host
    unit = getattr(device.options, "address", None) if device else None
    return str(endpoint) if unit is None else f"{endpoint}/{unit}"


def not_ready(health: Health, stats: JournalStats) -> list[str]:
    """Why the gateway cannot be relied on yet, as sentences; empty when it can."""
    reasons = [f"the journal does not accept: {stats.error}"] if stats.error else []
    reasons += [f"link {link.id} has not been tried yet" for link in health.links.values() if not _tried(link)]
    return reasons


def _tried(link: LinkHealth) -> bool:
    return bool(link.connects or link.failures) or link.state is not State.CONNECTING


def status(
    board: Board, health: Health, stats: JournalStats, links: Sequence[Link], plaintext: Sequence[str], now_ns: int
) -> dict[str, Any]:
    """How every stage is doing."""
    addresses = {link.id: address(link) for link in links}
    states = [entry.state for entry in board.states()]
    return {
        "gateway": health.gateway,
        "boot": health.boot,
        "version": health.version,
        "time": milliseconds(now_ns),
        "started": milliseconds(health.started_ns),
        "uptime_s": age_s(health.started_ns, now_ns),
        "ready": not not_ready(health, stats),
        "devices": {state.value: states.count(state) for state in State},
        "filtered_readings": health.filtered,
        "links": [_link(link, addresses.get(link.id)) for link in health.links.values()],
        "sinks": [_sink(sink, stats.cursors.get(sink.name, NOTHING), stats.gaps) for sink in health.sinks.values()],
        "journal": _journal(stats, now_ns),
        "configuration": _configuration(health.config),
        "clock": _clock(health.clock),
        "plaintext": list(plaintext),
    }


def _link(link: LinkHealth, where: str | None) -> dict[str, Any]:
    return {
        "link": link.id,
        "type": link.type,
        "address": where,
        "state": link.state,
        "since": milliseconds(link.since_ns),
        "error": link.error or None,
        "connects": link.connects,
        "failures": link.failures,
        "scans": link.scans,
        "readings": link.readings,
        "silent_polls": link.silent,
        "overruns": link.overruns,
        "overflows": link.overflows,
    }


def _sink(sink: SinkHealth, cursor: CursorStats, gaps: Sequence[Gap]) -> dict[str, Any]:
    # counts since the sink was first configured: accepted = delivered + pending + dropped + dead
    counts = {name: getattr(cursor, name) for name in ("accepted", "delivered", "pending", "dropped", "dead")}
    return {
        "sink": sink.name,
        "type": sink.type,
        "state": sink.state,
        "since": milliseconds(sink.since_ns),
        "error": sink.error or None,
        "connects": sink.connects,
        "failures": sink.failures,
        "writes": sink.writes,
        "records": {name: count.records for name, count in counts.items()},
        "readings": {name: count.readings for name, count in counts.items()},
        "dropped_by": by_reason(cursor.dropped_by),
        "gaps": [gap_view(gap) for gap in gaps if gap.cursor in (sink.name, "")],
        "delivered_since_start": {"records": sink.delivered_records, "readings": sink.delivered_readings},
        "last_delivery": milliseconds(sink.last_delivery_ns),
        "catching_up": sink.history,
    }


def by_reason(counts: Mapping[str, Count]) -> dict[str, dict[str, int]]:
    """Counts by reason."""
    return {str(reason): {"records": size.records, "readings": size.readings} for reason, size in counts.items()}


def gap_view(gap: Gap) -> dict[str, Any]:
    """What a sink never got; ``after`` and ``before`` are the times of the records around it."""
    return {
        "reason": gap.reason,
        "first_record": gap.start.records,
        "records": gap.size.records,
        "readings": gap.size.readings,
        "after": milliseconds(gap.after_ns or 0),
        "before": milliseconds(gap.before_ns or 0),
        "noticed": milliseconds(gap.noticed_ns),
    }


def _journal(stats: JournalStats, now_ns: int) -> dict[str, Any]:
    return {
        "error": stats.error or None,
        "accepted_records": stats.accepted_records,
        "accepted_readings": stats.accepted_readings,
        "lost_records": stats.lost_records,
        "lost_readings": stats.lost_readings,
        "lost_by": by_reason(stats.lost_by),
        "bytes": stats.bytes,
        "max_bytes": stats.max_bytes,
        "oldest": milliseconds(stats.oldest_time_ns or 0),
        "oldest_age_s": age_s(stats.oldest_time_ns or 0, now_ns),
    }


def _configuration(config: ConfigHealth) -> dict[str, Any]:
    return {
        "loaded": milliseconds(config.loaded_ns),
        "reloads": config.reloads,
        "refused": config.refused,
        "error": config.error or None,
        "needs_restart": list(config.needs_restart),
    }


def _clock(clock: ClockHealth) -> dict[str, Any]:
    return {
        "synchronised": clock.synchronised,
        "offset_s": clock.offset_s,
        "steps": clock.steps,
        "last_step_s": clock.last_step_s,
        "last_step": milliseconds(clock.last_step_ns),
    }

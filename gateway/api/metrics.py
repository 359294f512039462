"""The counters of every stage for Prometheus, read at the moment of the scrape.

In: Health, JournalStats, the Board. Out: metric families. Ages rather than time stamps, because the clock of a
gateway in the field may differ from the one of Prometheus.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from gateway.api.answers import age_s
from gateway.api.views import NOTHING
from gateway.core.clock import Clock
from gateway.core.contracts import Board, Count, CursorStats, Journal
from gateway.health import Health, LinkHealth, SinkHealth, State

LINK_COUNTERS: Mapping[str, tuple[str, Callable[[LinkHealth], int]]] = {
    "connects": ("Successful connects", lambda link: link.connects),
    "failures": ("Connects and conversations that failed", lambda link: link.failures),
    "scans": ("Answers to a poll, and notifications", lambda link: link.scans),
    "readings": ("Readings that the devices gave", lambda link: link.readings),
    "silent_polls": ("Polls that a device did not answer", lambda link: link.silent),
    "overruns": ("Slots missed because the poll before took too long", lambda link: link.overruns),
    "overflows": ("Values before which a server has dropped some, as it says itself", lambda link: link.overflows),
}
SINK_COUNTERS: Mapping[str, tuple[str, Callable[[SinkHealth], int]]] = {
    "connects": ("Successful connects", lambda sink: sink.connects),
    "failures": ("Connects and writes that failed", lambda sink: sink.failures),
    "writes": ("Writes that were acknowledged", lambda sink: sink.writes),
}


CURSOR_COUNTERS: Mapping[str, tuple[str, Callable[[CursorStats], Count]]] = {
    "accepted": ("that the journal took for this sink", lambda cursor: cursor.accepted),
    "delivered": ("that the sink has acknowledged", lambda cursor: cursor.delivered),
    "dropped": ("that were gone before this sink had them", lambda cursor: cursor.dropped),
    "dead": ("that the sink refused for good", lambda cursor: cursor.dead),
}
"""Since the sink was first configured; accepted = delivered + pending + dropped + dead, also across restarts."""


class GatewayCollector(Collector):
    """Reads everything when asked; keeps nothing."""

    def __init__(self, board: Board, health: Health, journal: Journal, clock: Clock) -> None:
        self._board = board
        self._health = health
        self._journal = journal
        self._clock = clock

    def describe(self) -> list[Metric]:
        """Nothing: so that registering does not scrape."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Every family of this gateway."""
        health = self._health
        yield InfoMetricFamily(
            "pilot_gateway",
            "Which gateway this is",
            value={"gateway": health.gateway, "boot": health.boot, "version": health.version},
        )
        yield CounterMetricFamily(
            "pilot_gateway_filtered_readings",
            "Readings left out because they lay within the deadband",
            value=health.filtered,
        )
        yield from self._configuration()
        yield from self._clock_families()
        yield from self._links()
        yield from self._devices()
        yield from self._sinks()
        yield from self._journal_families()

    def _configuration(self) -> Iterator[Metric]:
        config = self._health.config
        reloads = CounterMetricFamily(
            "pilot_gateway_configuration_reloads", "Times the configuration was read again", labels=("result",)
        )
        reloads.add_metric(("ok",), config.reloads)
        reloads.add_metric(("refused",), config.refused)
        yield reloads
        yield GaugeMetricFamily(
            "pilot_gateway_configuration_faulty",
            "1 while the newest configuration files are not in force because of mistakes in them",
            value=bool(config.error),
        )

    def _clock_families(self) -> Iterator[Metric]:
        clock = self._health.clock
        yield CounterMetricFamily(
            "pilot_gateway_clock_steps", "Times the wall clock was set while the gateway ran", value=clock.steps
        )
        if clock.synchronised is not None:
            yield GaugeMetricFamily(
                "pilot_gateway_clock_synchronised",
                "1 while the kernel holds the clock to be synchronised",
                value=clock.synchronised,
            )

    def _links(self) -> Iterator[Metric]:
        links = [((link.id, link.type), link) for link in self._health.links.values()]
        yield _states("link", ("link", "type"), {labels: link.state for labels, link in links})
        for name, (text, read) in LINK_COUNTERS.items():
            family = CounterMetricFamily(f"pilot_gateway_link_{name}", text, labels=("link", "type"))
            for labels, link in links:
                family.add_metric(labels, read(link))
            yield family

    def _devices(self) -> Iterator[Metric]:
        labels = ("site", "line", "device")
        age = GaugeMetricFamily(
            "pilot_gateway_device_newest_value_age_seconds", "Age of the newest value of the device", labels=labels
        )
        states: dict[tuple[str, ...], str] = {}
        now_ns = self._clock.time_ns()
        for entry in self._board.states():
            device = entry.device
            key = (device.site, device.line, device.id)
            states[key] = entry.state
            newest_ns = max(self._board.newest(device).times_ns, default=0)
            if newest_ns:
                age.add_metric(key, age_s(newest_ns, now_ns) or 0.0)
        yield _states("device", labels, states)
        yield age

    def _sinks(self) -> Iterator[Metric]:
        sinks = [((sink.name, sink.type), sink) for sink in self._health.sinks.values()]
        labels = ("sink", "type")
        now_ns = self._clock.time_ns()
        yield _states("sink", labels, {key: sink.state for key, sink in sinks})
        for name, (text, read) in SINK_COUNTERS.items():
            counter = CounterMetricFamily(f"pilot_gateway_sink_{name}", text, labels=labels)
            for key, sink in sinks:
                counter.add_metric(key, read(sink))
            yield counter
        catching_up = GaugeMetricFamily(
            "pilot_gateway_sink_catching_up", "1 while the sink is being caught up after an outage", labels=labels
        )
        age = GaugeMetricFamily(
            "pilot_gateway_sink_last_delivery_age_seconds", "Time since the last acknowledged write", labels=labels
        )
        for key, sink in sinks:
            catching_up.add_metric(key, sink.history)
            if sink.last_delivery_ns:
                age.add_metric(key, age_s(sink.last_delivery_ns, now_ns) or 0.0)
        yield from (catching_up, age)
        yield from self._cursors()

    def _cursors(self) -> Iterator[Metric]:
        cursors = self._journal.stats().cursors
        of_sinks = [((sink.name, sink.type), cursors.get(sink.name, NOTHING)) for sink in self._health.sinks.values()]
        for what in ("records", "readings"):
            families: list[CounterMetricFamily | GaugeMetricFamily] = []
            for name, (text, read) in CURSOR_COUNTERS.items():
                family = CounterMetricFamily(
                    f"pilot_gateway_sink_{name}_{what}", f"{what.capitalize()} {text}", labels=("sink", "type")
                )
                for key, cursor in of_sinks:
                    family.add_metric(key, getattr(read(cursor), what))
                families.append(family)
            pending = GaugeMetricFamily(
                f"pilot_gateway_sink_pending_{what}",
                f"{what.capitalize()} still to be delivered",
                labels=("sink", "type"),
            )
            for key, cursor in of_sinks:
                pending.add_metric(key, getattr(cursor.pending, what))
            dropped = CounterMetricFamily(
                f"pilot_gateway_sink_dropped_by_reason_{what}",
                f"{what.capitalize()} that were gone before this sink had them: full, thinned, damaged",
                labels=("sink", "type", "reason"),
            )
            for key, cursor in of_sinks:
                for reason, size in cursor.dropped_by.items():
                    dropped.add_metric((*key, str(reason)), getattr(size, what))
            yield from (*families, pending, dropped)

    def _journal_families(self) -> Iterator[Metric]:
        stats = self._journal.stats()
        prefix = "pilot_gateway_journal_"
        for name, text, count in (
            ("accepted_records", "Records on the disk since the journal was made", stats.accepted_records),
            ("accepted_readings", "Readings on the disk since the journal was made", stats.accepted_readings),
            ("lost_records", "Records that the journal could not write", stats.lost_records),
            ("lost_readings", "Readings that the journal could not write", stats.lost_readings),
        ):
            yield CounterMetricFamily(prefix + name, text, value=count)
        for what in ("records", "readings"):
            lost = CounterMetricFamily(
                f"{prefix}lost_by_reason_{what}", f"{what.capitalize()} that were not accepted", labels=("reason",)
            )
            for reason, size in stats.lost_by.items():
                lost.add_metric((str(reason),), getattr(size, what))
            yield lost
        yield CounterMetricFamily(prefix + "commits", "Group commits since the start", value=stats.commits)
        yield GaugeMetricFamily(prefix + "bytes", "What the journal takes on the disk", value=stats.bytes)
        yield GaugeMetricFamily(prefix + "max_bytes", "What the journal may take on the disk", value=stats.max_bytes)
        yield GaugeMetricFamily(prefix + "faulty", "1 while something is wrong with it", value=bool(stats.error))
        if stats.oldest_time_ns:
            yield GaugeMetricFamily(
                prefix + "oldest_record_age_seconds",
                "Age of the oldest record that is still there",
                value=age_s(stats.oldest_time_ns, self._clock.time_ns()) or 0.0,
            )


def _states(what: str, labels: tuple[str, ...], states: Mapping[tuple[str, ...], str]) -> Metric:
    """One series per possible state, 1 for the one that holds: what Prometheus calls a state set."""
    family = GaugeMetricFamily(
        f"pilot_gateway_{what}_state", f"1 for the state the {what} is in, 0 for the others", labels=(*labels, "state")
    )
    for key, now in states.items():
        for state in State:
            family.add_metric((*key, state.value), state == now)
    return family

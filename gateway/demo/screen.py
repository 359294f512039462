"""What the demonstration shows: pure functions of what the API and the witness say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from gateway.terminal import age_text, quality_text, table_of, value_text

JsonMap = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Places:
    """Where things listen."""

    api_port: int
    mqtt_port: int
    broker: str
    folder: str
    prefix: str

    def lines(self) -> tuple[str, ...]:
        """For people to copy."""
        return (
            f"API   http://127.0.0.1:{self.api_port}/api/v1/live",
            f"MQTT  127.0.0.1:{self.mqtt_port} ({self.broker})",
            f"      mosquitto_sub -h 127.0.0.1 -p {self.mqtt_port} -v -t '{self.prefix}/#'",
            f"files {self.folder}",
        )


@dataclass(frozen=True, slots=True)
class Moment:
    """What the API and the witness say at one time."""

    status: JsonMap = field(default_factory=dict)
    live: JsonMap = field(default_factory=dict)
    messages: int = 0  # that the witness has seen
    values: int = 0

    @property
    def accepted(self) -> int:
        """Readings in the journal since it was made."""
        return int(self.status["journal"]["accepted_readings"]) if self.status else 0

    @property
    def tags(self) -> list[JsonMap]:
        return [tag for device in self.live.get("devices", ()) for tag in device["tags"]]

    @property
    def good(self) -> int:
        """Tags whose newest value is good."""
        return sum(tag["quality"] == "good" for tag in self.tags)

    def sink(self, name: str) -> JsonMap:
        """What the API says about a sink; empty when it says nothing."""
        sinks: list[JsonMap] = [sink for sink in self.status.get("sinks", ()) if sink["sink"] == name]
        return sinks[0] if sinks else {}


def view(moment: Moment, places: Places, seconds: float, duration_s: float | None) -> RenderableType:
    """The whole screen; the table comes last, because a small terminal cuts the end."""
    head = f"Pilot Gateway demonstration · {seconds:.0f} s" + (f" of {duration_s:.0f} s" if duration_s else "")
    above = (Text(f"{head} · Ctrl-C ends it", style="bold"), *map(Text, (*places.lines(), *counts(moment))), Text())
    return Group(*above, table(moment))


def table(moment: Moment) -> Table:
    """The newest value of every tag."""
    rows = table_of("device", "tag", "value>", "unit", "quality", "age>")
    for device in moment.live.get("devices", ()):
        name = device["device"].rpartition("/")[2]
        for tag in device["tags"]:
            rows.add_row(
                name,
                tag["tag"],
                value_text(tag["value"]),
                tag["unit"],
                quality_text(tag["quality"]),
                age_text(tag["age_s"]),
            )
    return rows


def counts(moment: Moment) -> list[str]:
    """What was accepted, delivered and stored, a line each."""
    if not moment.status:
        return []
    journal = moment.status["journal"]
    lines = [f"accepted   {_readings(journal['accepted_readings'], journal['accepted_records'])} in the journal"]
    for sink in moment.status["sinks"]:
        readings, records = sink["readings"], sink["records"]
        rest = "".join(f", {readings[what]:,} {what}" for what in ("pending", "dropped", "dead") if readings[what])
        error = f" ({sink['error']})" if sink["error"] else ""
        delivered = _readings(readings["delivered"], records["delivered"])
        lines.append(f"delivered  {delivered} to {sink['sink']}{rest or ', none pending'}{error}")
    lines.append(f"arrived    {_readings(moment.values, moment.messages)} at a subscriber of its own")
    lines.append(f"stored     {journal['bytes']:,} bytes on the disk")
    return lines


def progress(moment: Moment, seconds: float) -> str:
    """One line, for where there is no terminal."""
    pending = sum(sink["readings"]["pending"] for sink in moment.status.get("sinks", ()))
    return (
        f"{seconds:5.0f} s  {moment.good} of {len(moment.tags)} tags good, {moment.accepted:,} readings accepted, "
        f"{pending:,} pending, {moment.values:,} arrived over MQTT"
    )


def failures(moment: Moment, writes: int | None) -> list[str]:
    """What essential did not work, as sentences; empty when all is well."""
    failed = []
    if not moment.accepted:
        failed.append("nothing was accepted: no instrument was read")
    mqtt = moment.sink("mqtt")
    if not mqtt or not mqtt["delivered_since_start"]["readings"]:
        failed.append("nothing was delivered to the broker" + (f": {mqtt['error']}" if mqtt.get("error") else ""))
    elif moment.messages < mqtt["delivered_since_start"]["records"]:
        said = mqtt["delivered_since_start"]["records"]
        failed.append(f"the gateway says it published {said} messages, but {moment.messages} arrived")
    for sink in moment.status.get("sinks", ()):
        lost = sink["readings"]["dropped"] + sink["readings"]["dead"]
        if lost:
            failed.append(f"{lost} readings did not reach {sink['sink']}")
    if moment.status and moment.status["journal"]["lost_readings"]:
        failed.append(f"{moment.status['journal']['lost_readings']} readings were lost before the journal")
    failed += [
        f"device {device['device']} is {device['state']}"
        for device in moment.live.get("devices", ())
        if device["state"] != "online"
    ]
    if writes is None:
        failed.append("the simulator did not say how many writes it received")
    elif writes:
        failed.append(f"the simulator received {writes} write requests; the gateway must never send one")
    return failed


def _readings(readings: int, records: int) -> str:
    return f"{readings:,} readings in {records:,} records"

"""Pilot Gateway: from the instruments of a pilot line to MQTT and InfluxDB, with nothing lost."""

__version__ = "0.1.0"

"""YAML files, environment and secret files → one frozen Settings, or every mistake in them at once.

::

    config/gateway.yaml ─┐           sources.py                lines.py
    config/lines/*.yaml ─┼─ tree.py ─ PILOT_GATEWAY__… on top ─ template + device, validated ─> Settings
    config/templates/*  ─┘           (pydantic-settings)       translate.py: sentences for people

Every value keeps its file and line until it is validated, so that a mistake can name its place.
"""

from gateway.settings.apart import load_apart
from gateway.settings.load import load, load_line_file
from gateway.settings.model import ApiOptions, JournalOptions, Line, LogOptions, Settings

__all__ = ["ApiOptions", "JournalOptions", "Line", "LogOptions", "Settings", "load", "load_apart", "load_line_file"]

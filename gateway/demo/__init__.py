"""The demonstration: the main job on simulated parts, as real processes that speak the real protocols on loopback.

::

    simulator ──Modbus TCP, OPC UA──> gateway ──MQTT──> broker ──> witness (here, counts what arrives)
                                         └──HTTP API──> the table on the screen
"""

"""The contract: what every other part of the house may rely on.

Nothing here imports a protocol, a broker or a database library.
"""

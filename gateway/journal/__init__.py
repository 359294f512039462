"""The durable, append-only store of batches on the box: from here on a value is accepted.

::

    append ──> sqlite.py ── group of batches ──> store.py ──> journal.db     one thread, one connection
                  │                                 │ codec.py: batches ↔ bytes (pure)
                  │ tail.py: newest in memory       │ files.py: lock, high-water mark, ballast
                  │ letters.py: dead letters        │ past.py: what is there, damaged files included
                  v                                 v
              cursor.py <── records, in order ── store.py
"""

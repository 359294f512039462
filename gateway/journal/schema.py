"""The tables of the journal and its connection settings. Pure text."""

FORMAT = 3  # user_version of the database; a journal of a later one is not touched
APPLICATION = 0x5047_4A4C  # "PGJL", application_id

_NEW_IN_2 = """
CREATE TABLE dropped (               -- cursor.dropped by reason
  cursor   TEXT NOT NULL,
  reason   TEXT NOT NULL,
  records  INTEGER NOT NULL,
  readings INTEGER NOT NULL,
  PRIMARY KEY (cursor, reason)
) WITHOUT ROWID;
CREATE TABLE thinned (               -- what was left out of which commit_group
  first_record INTEGER PRIMARY KEY,
  records      INTEGER NOT NULL,
  readings     INTEGER NOT NULL
);
"""

_NEW_IN_3 = """
CREATE TABLE resend (                -- dead letters that are on their way once more
  letter INTEGER PRIMARY KEY         -- dead_letter.id
);
"""

TABLES = f"""
CREATE TABLE commit_group (          -- one row per group commit
  first_record  INTEGER PRIMARY KEY, -- positions count from 0 and never repeat
  records       INTEGER NOT NULL,
  first_reading INTEGER NOT NULL,
  readings      INTEGER NOT NULL,
  time_min      INTEGER NOT NULL,    -- of the values, ns UTC
  time_max      INTEGER NOT NULL,
  committed     INTEGER NOT NULL,    -- ns UTC
  blob_crc      INTEGER NOT NULL,    -- CRC-32 of the row's position and its blob
  row_crc       INTEGER NOT NULL,    -- CRC-32 of everything above: the row can be trusted without reading its blob
  blob          BLOB NOT NULL        -- gateway.journal.codec
);
CREATE TABLE source (
  id   INTEGER PRIMARY KEY,
  json BLOB NOT NULL,
  crc  INTEGER NOT NULL
);
CREATE TABLE cursor (                -- one row per sink; all counts since the cursor was made
  name              TEXT PRIMARY KEY,
  record            INTEGER NOT NULL, reading            INTEGER NOT NULL, -- the first one not delivered
  origin_record     INTEGER NOT NULL, origin_reading     INTEGER NOT NULL, -- where it began
  delivered_records INTEGER NOT NULL, delivered_readings INTEGER NOT NULL,
  dropped_records   INTEGER NOT NULL, dropped_readings   INTEGER NOT NULL,
  dead_records      INTEGER NOT NULL, dead_readings      INTEGER NOT NULL,
  crc               INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE gap (                   -- what a cursor never got
  id           INTEGER PRIMARY KEY,
  cursor       TEXT NOT NULL,
  first_record INTEGER NOT NULL,
  records      INTEGER NOT NULL,
  readings     INTEGER NOT NULL,
  reason       TEXT NOT NULL,        -- rows.Reason
  noticed      INTEGER NOT NULL,     -- ns UTC
  after_ns     INTEGER,              -- time of the last record before it, where that is known
  before_ns    INTEGER,              -- time of the first record behind it
  first_reading INTEGER NOT NULL DEFAULT 0
);
{_NEW_IN_2}
CREATE TABLE dead_letter (           -- what a sink refused for good
  id       INTEGER PRIMARY KEY,
  cursor   TEXT NOT NULL,
  record   INTEGER NOT NULL,
  refused  INTEGER NOT NULL,         -- ns UTC
  reason   TEXT NOT NULL,
  blob_crc INTEGER NOT NULL,
  blob     BLOB NOT NULL,            -- a group of one batch
  UNIQUE (cursor, record)
);
{_NEW_IN_3}
CREATE TABLE total (                 -- since the journal was made
  name  TEXT PRIMARY KEY,            -- lost/<reason>/records, lost/<reason>/readings, damage/from/…, damage/to/…
  value INTEGER NOT NULL
) WITHOUT ROWID;
PRAGMA application_id = {APPLICATION};
PRAGMA user_version = {FORMAT};
"""

UPGRADES = {
    1: f"""
ALTER TABLE gap ADD COLUMN after_ns INTEGER;
ALTER TABLE gap ADD COLUMN before_ns INTEGER;
ALTER TABLE gap ADD COLUMN first_reading INTEGER NOT NULL DEFAULT 0;
{_NEW_IN_2}
UPDATE total SET name = replace(name, 'lost_', 'lost/earlier/');
PRAGMA user_version = 2;
""",  # noqa: S608
    2: f"{_NEW_IN_3} PRAGMA user_version = 3;",
}
"""By format: what makes the next one of it."""

LOCKING = "PRAGMA locking_mode = EXCLUSIVE"
"""One connection: no shared memory file, nobody else checkpoints. Must come before anything is read."""

SETTINGS = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = FULL;           -- NORMAL loses accepted records in a power cut
PRAGMA cache_size = -2000;
PRAGMA temp_store = MEMORY;
PRAGMA cell_size_check = ON;
PRAGMA secure_delete = OFF;          -- else (Debian) every page that is freed is written once more, through the WAL
"""

-- The log of every channel, for anybody with sqlite3 to read:
--   select name, key & 0xFFFFFFFFFFFF as position, json from events join channels on number = key >> 48

CREATE TABLE channels (
  number INTEGER PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  epoch TEXT NOT NULL
) STRICT;

-- The epochs that are over, as far as the log is known to be what it was then: up to an offset.
CREATE TABLE past (
  channel INTEGER NOT NULL,
  epoch TEXT NOT NULL,
  same INTEGER NOT NULL,
  PRIMARY KEY (channel, epoch)
) STRICT;

-- A channel's newest event is never deleted: its offset is how far the channel has come.
CREATE TABLE events (
  -- The channel's number, then the offset in 48 bits.
  key INTEGER PRIMARY KEY,
  -- In the log's own time, which never goes back.
  time INTEGER NOT NULL,
  -- CRC-32 of the rest: SQLite does not notice a changed bit in a value.
  sum INTEGER NOT NULL,
  json TEXT NOT NULL
) STRICT;

-- The ids that are taken, oldest first, also of events that the log no longer has.
CREATE TABLE ids (
  seq INTEGER PRIMARY KEY,
  channel INTEGER NOT NULL,
  id TEXT NOT NULL,
  offset INTEGER NOT NULL,
  time INTEGER NOT NULL,
  UNIQUE (channel, id)
) STRICT;

-- What is written to see whether writing works.
CREATE TABLE probe (bytes BLOB NOT NULL) STRICT;

-- The store's values, by key.
CREATE TABLE store (
  key TEXT PRIMARY KEY,
  value BLOB NOT NULL,
  -- CRC-32 of the rest.
  sum INTEGER NOT NULL
) STRICT;

-- The store's leases. A row is never deleted, because a fencing token must not fall.
CREATE TABLE leases (
  name TEXT PRIMARY KEY,
  holder TEXT NOT NULL,
  token INTEGER NOT NULL,
  -- When it ends, in the log's own time; 0 once it was released.
  end INTEGER NOT NULL,
  -- CRC-32 of the rest.
  sum INTEGER NOT NULL
) STRICT;

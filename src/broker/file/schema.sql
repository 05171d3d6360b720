-- The log of every channel and the store. To read the events with sqlite3:
--   select name, key & 0xFFFFFFFFFFFF as position, json from events join channels on number = key >> 48

CREATE TABLE channels (
  number INTEGER PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  epoch TEXT NOT NULL,
  -- The offset and the log time of the newest event that was deleted; 0 if none was.
  deleted INTEGER NOT NULL DEFAULT 0,
  deleted_time INTEGER NOT NULL DEFAULT 0
) STRICT;

-- Earlier epochs of each channel. Up to the offset `shared` the log has the same events as it had in that epoch. The epoch
-- ended at the log time `ended`: events of that time or earlier may be lost.
CREATE TABLE past_epochs (
  channel INTEGER NOT NULL,
  epoch TEXT NOT NULL,
  shared INTEGER NOT NULL,
  ended INTEGER NOT NULL,
  PRIMARY KEY (channel, epoch)
) STRICT;

-- A channel's newest event is never deleted, because its offset is the channel's head.
CREATE TABLE events (
  -- The channel's number, then the offset in 48 bits.
  key INTEGER PRIMARY KEY,
  -- The log time, which never goes back.
  time INTEGER NOT NULL,
  -- CRC-32 of the other columns, because SQLite does not detect a changed bit in a value.
  sum INTEGER NOT NULL,
  json TEXT NOT NULL
) STRICT;

-- The ids within the deduplication window, the oldest first. An id may outlive its event.
CREATE TABLE ids (
  seq INTEGER PRIMARY KEY,
  channel INTEGER NOT NULL,
  id TEXT NOT NULL,
  offset INTEGER NOT NULL,
  time INTEGER NOT NULL,
  UNIQUE (channel, id)
) STRICT;

-- The newest event of each subject, for the channels whose type keeps it. All rows are of the channel's current epoch.
CREATE TABLE latest (
  -- The channel's number, then the event's offset in 48 bits, as in `events`.
  key INTEGER PRIMARY KEY,
  channel INTEGER NOT NULL,
  subject TEXT NOT NULL,
  time INTEGER NOT NULL,
  -- CRC-32 of the other columns but the channel's number.
  sum INTEGER NOT NULL,
  json TEXT NOT NULL,
  UNIQUE (channel, subject)
) STRICT;

-- A row of the size that must fit, written to probe whether the disk takes writes.
CREATE TABLE probe (bytes BLOB NOT NULL) STRICT;

-- The store's values.
CREATE TABLE store (
  key TEXT PRIMARY KEY,
  value BLOB NOT NULL,
  -- CRC-32 of the other columns.
  sum INTEGER NOT NULL
) STRICT;

-- The store's leases. A row is never deleted, because a fencing token must not fall.
CREATE TABLE leases (
  name TEXT PRIMARY KEY,
  holder TEXT NOT NULL,
  token INTEGER NOT NULL,
  -- The log time at which the lease ends; 0 once it was released.
  end INTEGER NOT NULL,
  -- CRC-32 of the other columns.
  sum INTEGER NOT NULL
) STRICT;

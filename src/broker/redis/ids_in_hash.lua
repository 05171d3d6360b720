-- Remembers the ids of the deduplication window in a hash of the channel. For a cluster, where a script may name only keys
-- that exist (see log.lua). The hash has `TIME POSITION` for each id.
--
-- KEYS: the hash, after the two keys of the only channel

local PUBLISH, EVENTS, FIELDS, IDS = 'SPUBLISH', true, 4, 1
local other_keys = 0
local ids, window = KEYS[3], tonumber(ARGV[2])

local function id_of(_, at)
  return ARGV[at + 3]
end

local function remember(id, position)
  redis.call('HSET', ids, id, integer(time) .. ' ' .. position)
end

-- Remembers an id if it is new. Returns whether it was.
local function remember_new(id, position)
  return redis.call('HSETNX', ids, id, integer(time) .. ' ' .. position) == 1
end

local function remembered(id)
  local at, position = string.match(redis.call('HGET', ids, id) or '', '^(%d+) (.*)$')
  return tonumber(at or 0) > time - window and position
end

-- Not by HDEL: a user without the right to it would keep the id of an event that is not in the log.
local function forget(id)
  redis.call('HSET', ids, id, '0 ')
end

-- Scans as many ids as were added since the last scan, from where that scan ended, and deletes the expired ones.
local function forget_old(log)
  local cursor = redis.call('HGET', log.meta, 'scan') or 0
  local scanned = redis.call('HSCAN', ids, cursor, 'COUNT', math.max(64, log.added))
  local found, old, deadline = scanned[2], {}, integer(time - window)
  for i = 2, #found, 2 do
    -- A comparison of texts: times have the same number of digits for the next 200 years.
    if found[i] < deadline then
      old[#old + 1] = found[i - 1]
    end
  end
  for i = 1, #old, 1000 do
    redis.call('HDEL', ids, unpack(old, i, math.min(#old, i + 999)))
  end
  redis.call('HSET', log.meta, 'scan', scanned[1])
end

-- Remembers ids in a hash of the channel's own, for a cluster: see log.lua. An id stands there for a time and a position.
--
-- KEYS: the hash, after the two keys of the one channel

local PUBLISH, FIELDS = 'SPUBLISH', 3
local ids, window = KEYS[3], tonumber(ARGV[4])

local function id_of(_, at)
  return ARGV[at + 2]
end

local function remember(id, position)
  redis.call('HSET', ids, id, exact(time) .. ' ' .. position)
end

-- Only if it is not remembered already; whether that was so.
local function remember_new(id, position)
  return redis.call('HSETNX', ids, id, exact(time) .. ' ' .. position) == 1
end

local function remembered(id)
  local at, position = string.match(redis.call('HGET', ids, id), '^(%d+) (.*)$')
  return tonumber(at or 0) > time - window and position
end

local function forget(id)
  redis.call('HDEL', ids, id)
end

-- Looks at as many ids as came since the last time, from where that ended, and takes out those that are too old.
local function forget_old(log)
  local cursor = redis.call('HGET', log.meta, 'scan') or 0
  local scanned = redis.call('HSCAN', ids, cursor, 'COUNT', math.max(64, log.added))
  local found, old, deadline = scanned[2], {}, exact(time - window)
  for i = 2, #found, 2 do
    -- Times have as many digits for the next 200 years.
    if found[i] < deadline then
      old[#old + 1] = found[i - 1]
    end
  end
  for i = 1, #old, 1000 do
    redis.call('HDEL', ids, unpack(old, i, math.min(#old, i + 999)))
  end
  redis.call('HSET', log.meta, 'scan', scanned[1])
end

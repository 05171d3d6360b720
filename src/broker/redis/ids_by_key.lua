-- Remembers the ids of the deduplication window: a key for each event, which expires by itself.
--
-- KEYS: after the keys of the channels, one key for each event

local PUBLISH, EVENTS, FIELDS = 'PUBLISH', true, 2

local function id_of(event)
  return KEYS[tonumber(ARGV[1]) * 2 + event]
end

local function remember(key, position)
  redis.call('SET', key, position, 'PX', ARGV[2])
end

-- Remembers an id if it is new. Returns whether it was.
local function remember_new(key, position)
  return redis.call('SET', key, position, 'PX', ARGV[2], 'NX')
end

local function remembered(key)
  return redis.call('GET', key)
end

-- Not by DEL: a user without the right to it would keep the id of an event that is not in the log.
local function forget(key)
  redis.call('SET', key, '', 'PX', 1)
end

-- Keys expire by themselves.
local function forget_old() end

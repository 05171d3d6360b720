-- Remembers the ids of the deduplication window: a key for each event, which expires by itself.
--
-- KEYS: after all other keys, one key for each event

local PUBLISH, EVENTS, FIELDS, IDS = 'PUBLISH', true, 3, 0
-- How many keys stand before those of the events; append.lua counts them.
local other_keys = 0

local function id_of(event)
  return KEYS[other_keys + event]
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

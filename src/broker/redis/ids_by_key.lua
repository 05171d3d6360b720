-- Remembers ids by a key for each event, which Redis forgets by itself.
--
-- KEYS: after those of the channels, one for each event

local PUBLISH, FIELDS = 'PUBLISH', 2

local function id_of(event)
  return KEYS[tonumber(ARGV[1]) * 2 + event]
end

local function remember(key, position)
  redis.call('SET', key, position, 'PX', ARGV[4])
end

-- Only if it is not remembered already; whether that was so.
local function remember_new(key, position)
  return redis.call('SET', key, position, 'PX', ARGV[4], 'NX')
end

local function remembered(key)
  return redis.call('GET', key)
end

local function forget(key)
  redis.call('DEL', key)
end

local function forget_old() end

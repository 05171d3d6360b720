-- The end of the probe's script: log.lua, one of ids_by_key.lua and ids_in_hash.lua, and append.lua as the function `append`
-- stand before this part. So the probe takes the way of a publication, on a log of its own.
--
-- KEYS and ARGV: those of append.lua, for one event on one channel

local answer = append()
-- The log outlives its node for a minute.
for i = 1, FIELDS do
  -- In a cluster the third key is the hash of ids. On one server it is a key that expires by itself.
  redis.call('PEXPIRE', KEYS[i], 60000)
end
return answer

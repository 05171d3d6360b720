-- The store's values: one hash from each key to its value.
--
-- KEYS: the hash
-- ARGV: the operation and the key, then
--   get
--   put, the value
--   compare-and-set, the expected value ('=' before it, or '' for none), the new one (likewise; '' deletes)
-- Answers the value or nil for `get`, otherwise 1 if the value was set, 0 if it was not the expected one.

local values, operation, key = KEYS[1], ARGV[1], ARGV[2]

if operation == 'put' then
  redis.call('HSET', values, key, ARGV[3])
  return 1
end

local value = redis.call('HMGET', values, key)[1]
if operation == 'get' then
  return value
end

local expected, new = ARGV[3], ARGV[4]
if (value and '=' .. value or '') ~= expected then
  return 0
end
if new == '' then
  redis.call('HDEL', values, key)
else
  redis.call('HSET', values, key, string.sub(new, 2))
end
return 1

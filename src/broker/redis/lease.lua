-- The store's leases: one hash from each name to `TOKEN END HOLDER`. END is the time (ms) at which the lease ends, 0 once
-- it was released. An entry is never deleted, because a token must not fall.
--
-- KEYS: the hash
-- ARGV: the name, the holder, for how long to take the lease (ms), or '' to release it
-- Answers the fencing token, or '' if the holder does not have the lease.

local leases, name, holder = KEYS[1], ARGV[1], ARGV[2]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local entry = redis.call('HMGET', leases, name)[1]
local token, ends, last = string.match(entry or '', '^(%d+) (%d+) (.*)$')
token, ends = tonumber(token or 0), tonumber(ends or 0)
local held = now < ends

local function set(token, ends)
  -- tostring() would write such numbers with an exponent. string.format('%s') would end a holder at its first zero byte.
  redis.call('HSET', leases, name, string.format('%d %d ', token, ends) .. holder)
end

if held and last ~= holder then
  return ''
end
if ARGV[3] == '' then
  if held then
    set(token, 0)
  end
  return ''
end
if not held then
  token = math.max(now, token + 1)
end
set(token, now + tonumber(ARGV[3]))
return string.format('%d', token)

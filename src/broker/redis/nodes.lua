-- The registry of nodes: a hash from each node's id to `TIME SESSION STATE`. TIME is that of the last heartbeat (ms since
-- 1970), STATE is the node's JSON.
--
-- KEYS: the registry
-- ARGV: how long a silent node is remembered (ms). A heartbeat adds the node's id, session and state; a node that leaves
--       adds its id and session
-- Returns the time (ms since 1970), the session that last had the id, and the entries that are remembered.

local call = redis.call
local time = call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local remembered = tonumber(ARGV[1])

local last = ARGV[2] and call('HMGET', KEYS[1], ARGV[2])[1]
local session = last and string.match(last, '^%d+ (%S+) ') or ''
if ARGV[4] then
  call('HSET', KEYS[1], ARGV[2], string.format('%d %s %s', now, ARGV[3], ARGV[4]))
  call('PEXPIRE', KEYS[1], ARGV[1])
elseif session == ARGV[3] then
  call('HDEL', KEYS[1], ARGV[2])
end

local answer, entries = { string.format('%d', now), session }, call('HGETALL', KEYS[1])
for i = 1, #entries, 2 do
  local at = string.match(entries[i + 1], '^(%d+) ')
  if at and now - at < remembered then
    answer[#answer + 1] = entries[i + 1]
  elseif ARGV[4] then
    call('HDEL', KEYS[1], entries[i])
  end
end
return answer

-- The registry of nodes: a hash from each node's id to the time of its last heartbeat, a blank, and what it says of itself.
--
-- KEYS: the registry
-- ARGV: for how long a silent node is remembered (ms), then a node's id, and what it says, which it does not where it leaves
-- Answers the time, then the entries that count.

local call = redis.call
local time = call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local remembered = tonumber(ARGV[1])

if ARGV[3] then
  call('HSET', KEYS[1], ARGV[2], string.format('%d %s', now, ARGV[3]))
  call('PEXPIRE', KEYS[1], ARGV[1])
elseif ARGV[2] then
  call('HDEL', KEYS[1], ARGV[2])
end

local answer, entries = { string.format('%d', now) }, call('HGETALL', KEYS[1])
for i = 1, #entries, 2 do
  local at = string.match(entries[i + 1], '^(%d+) ')
  if at and now - at < remembered then
    answer[#answer + 1] = entries[i + 1]
  elseif ARGV[3] then
    call('HDEL', KEYS[1], entries[i])
  end
end
return answer

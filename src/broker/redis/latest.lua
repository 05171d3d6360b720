-- Reads the newest events of subjects; keep_latest.lua says where they are. log.lua stands before this part.
--
-- KEYS: stream, meta, and the hash and the sorted set of the values
-- ARGV: an unused epoch, the node's fingerprint of the log, how long values are kept (ms), and either a subject, or '' and the
--       offset after which to read, the maximum number of events, and the bytes of JSON after which the page is full
-- Returns the log's epoch, its head, 1 if there are values behind these or 0, and then for each value its offset and its JSON,
-- in the order of the offsets. Or returns SEND_NONCES.

local log = open(KEYS[1], KEYS[2], ARGV[1], ARGV[2])
if not log then
  return SEND_NONCES
end
local values, order, deadline = KEYS[3], KEYS[4], time - tonumber(ARGV[3])
local answer = { log.epoch, integer(log.head), 0 }

-- Offset, time and JSON of a value.
local function parts(value)
  local offset, at, json = string.match(value or '', '^(%d+) (%d+) (.*)$')
  return offset, tonumber(at or 0), json
end

local function add(value)
  local offset, at, json = parts(value)
  if offset and at >= deadline then
    answer[#answer + 1] = offset
    answer[#answer + 1] = json
  end
  return json and #json or 0
end

local found = redis.call('HMGET', values, '', ARGV[4])
if found[1] ~= log.epoch .. ':' .. integer(log.head) then
  -- The values are of another epoch, or events were appended without them.
  return answer
end
if #ARGV == 4 then
  add(found[2])
  return answer
end

local limit, most = tonumber(ARGV[6]), tonumber(ARGV[7])
local all = redis.call('ZCARD', order)
-- The rank of the first value behind the offset that is not too old. A binary search, because values are in the order of their
-- times, and removed some time after they expire.
local rank = math.max(redis.call('ZCOUNT', order, '-inf', ARGV[5]), 1)
local high = all
while rank < high do
  local middle = math.floor((rank + high) / 2)
  local subject = redis.call('ZRANGE', order, middle, middle)[1]
  local _, at = parts(redis.call('HMGET', values, subject)[1])
  if at < deadline then
    rank = middle + 1
  else
    high = middle
  end
end
local bytes = 0
while rank < all and limit > 0 and bytes < most do
  -- In steps, because the events may be large and the page is limited in bytes.
  local subjects = redis.call('ZRANGE', order, rank, math.min(rank + math.min(limit, 32), all) - 1)
  if #subjects == 0 then
    break
  end
  for _, value in ipairs(redis.call('HMGET', values, unpack(subjects))) do
    if limit == 0 or bytes >= most then
      break
    end
    bytes, rank, limit = bytes + add(value), rank + 1, limit - 1
  end
end
answer[3] = rank < all and 1 or 0
return answer

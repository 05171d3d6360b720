-- Keeps the newest event of each subject of a channel whose type says so. This part stands before append.lua.
--
-- Two keys beside the log have them. The hash (`values`) has `OFFSET TIME JSON` for each subject. The sorted set (`order`) has
-- the subjects by their offsets, so that the first has not changed for the longest time. The member '', which no subject is,
-- is in both: `EPOCH:OFFSET` in the hash says up to which event of the log the values are right, and its score is 0.
--
-- If the log's head is another, events were appended without the values: in another epoch, or by a node whose type keeps none.
-- Then no value counts, and the next append deletes them all.

-- The most subjects that one call removes.
local MAX_REMOVED = 1000

-- Makes the keys ready for the first event of a call. It comes before the first XADD: if the user may not change the keys, no
-- event must be in the log without being the newest of its subject.
local function open_latest(log)
  local latest = log.latest
  local known = redis.call('HMGET', latest.values, '')[1]
  local is_new = redis.call('ZADD', latest.order, 0, '') == 1
  if is_new or known ~= log.epoch .. ':' .. integer(log.head) then
    redis.call('DEL', latest.values, latest.order)
    redis.call('ZADD', latest.order, 0, '')
  end
  redis.call('HSET', latest.values, '', '')
  latest.epoch = log.epoch
end

-- Makes the event at an offset the newest of its subject.
local function keep_latest(log, subject, offset, json)
  redis.call('HSET', log.latest.values, subject, offset .. ' ' .. log.stamp .. ' ' .. json)
  redis.call('ZADD', log.latest.order, offset, subject)
end

local function remove_latest(log, subjects)
  if #subjects > 0 then
    redis.call('HDEL', log.latest.values, unpack(subjects))
    redis.call('ZREM', log.latest.order, unpack(subjects))
  end
end

-- The subjects whose values are too old, among the first so many.
local function too_old(log, most)
  local subjects, old = redis.call('ZRANGE', log.latest.order, 1, most), {}
  local values = #subjects > 0 and redis.call('HMGET', log.latest.values, unpack(subjects)) or {}
  for i, value in ipairs(values) do
    if tonumber(string.match(value or '', '^%d+ (%d+)') or 0) < time - log.latest.age then
      old[#old + 1] = subjects[i]
    end
  end
  return old
end

-- Removes values that are too old.
local function expire_latest(log)
  local removed = 0
  repeat
    local old = too_old(log, 100)
    remove_latest(log, old)
    removed = removed + #old
  until #old < 100 or removed >= MAX_REMOVED
end

-- Ends the changes of a call: the values are right up to the head now. Removes the subjects that are too many, after those whose
-- values are too old: these leave for nobody, and count as no eviction.
local function close_latest(log)
  local latest = log.latest
  redis.call('HSET', latest.values, '', log.epoch .. ':' .. integer(log.head))
  local kept = redis.call('ZCARD', latest.order) - 1
  if kept > latest.most and #too_old(log, 1) > 0 then
    expire_latest(log)
    kept = redis.call('ZCARD', latest.order) - 1
  end
  local evicted = math.min(math.max(kept - latest.most, 0), MAX_REMOVED)
  if evicted > 0 then
    remove_latest(log, redis.call('ZRANGE', latest.order, 1, evicted))
  end
  latest.kept, latest.evicted = integer(kept - evicted), integer(evicted)
end

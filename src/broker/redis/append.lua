-- Appends a batch of events to the logs of their channels and publishes each: all of it or nothing is seen by others.
--
-- KEYS: stream and meta of each channel, then each event's deduplication key
-- ARGV: number of channels, log_max_events, log_max_age (ms), dedup_window (ms), an unused epoch,
--       then for each channel its pub/sub channel and the epoch and offset that the node knows,
--       then for each event the number of its channel and its JSON
-- Answers for each event its position, then 1 if it had been appended before or 0.

local channels, keep, age, window, epoch = tonumber(ARGV[1]), ARGV[2], tonumber(ARGV[3]), ARGV[4], ARGV[5]
local time = now()
local stamp = exact(time)

local logs = {}
for i = 1, channels do
  local at = 5 + (i - 1) * 3
  local log = open(KEYS[i * 2 - 1], KEYS[i * 2], epoch, ARGV[at + 2], ARGV[at + 3])
  log.channel, log.start = ARGV[at + 1], log.head
  logs[i] = log
end

local function add(log, id, json)
  local offset = exact(log.head + 1)
  local position = log.epoch .. ':' .. offset
  if not redis.call('SET', id, position, 'PX', window, 'NX') then
    local first = redis.call('GET', id)
    if first and string.match(first, '^[^:]*') == log.epoch then
      return first, 1
    end
    -- It was in an epoch that is lost: here it is new.
    redis.call('SET', id, position, 'PX', window)
  end
  local added = redis.pcall('XADD', log.stream, 'MAXLEN', '~', keep, offset .. '-0', 'e', json, 't', stamp)
  if type(added) == 'table' and added.err then
    -- The stream is ahead of the meta data (somebody changed one of the two). The id must not be remembered for a
    -- position that was never filled; if it is not that, the second error is the answer.
    redis.call('DEL', id)
    renew(log, epoch)
    offset = exact(log.head + 1)
    position = log.epoch .. ':' .. offset
    redis.call('XADD', log.stream, offset .. '-0', 'e', json, 't', stamp)
    redis.call('SET', id, position, 'PX', window)
  end
  log.head = log.head + 1
  -- protocol::event_frame writes the same.
  redis.call('PUBLISH', log.channel, '{"type":"event","position":"' .. position .. '","event":' .. json .. '}')
  return position, 0
end

local answer = {}
local first = 5 + channels * 3
for i = 1, #KEYS - channels * 2 do
  local at = first + i * 2
  answer[i * 2 - 1], answer[i * 2] = add(logs[tonumber(ARGV[at - 1])], KEYS[channels * 2 + i], ARGV[at])
end

for _, log in ipairs(logs) do
  local added = log.head - log.start
  if added > 0 then
    redis.call('HSET', log.meta, 'offset', exact(log.head))
    -- Age is looked at once in 64 events: then up to twice as many go as came, at least 128.
    if math.floor(log.start / 64) ~= math.floor(log.head / 64) then
      local oldest = redis.call('XRANGE', log.stream, '-', '+', 'COUNT', 1)[1]
      if oldest and tonumber(oldest[2][4]) < time - age then
        local young
        for _, entry in ipairs(redis.call('XRANGE', log.stream, '-', '+', 'COUNT', math.max(128, added * 2))) do
          young = tonumber(string.match(entry[1], '^%d+'))
          if tonumber(entry[2][4]) >= time - age then
            break
          end
        end
        redis.call('XTRIM', log.stream, 'MAXLEN', '~', exact(log.head - young + 1))
      end
    end
  end
end
return answer

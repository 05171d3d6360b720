-- Appends a batch of events to the logs of their channels and publishes each.
--
-- KEYS: stream and meta of each channel, then each event's deduplication key
-- ARGV: number of channels, log_max_events, log_max_age (ms), dedup_window (ms), an unused epoch,
--       then for each channel its pub/sub channel and the epoch and offset that the node knows,
--       then for each event the number of its channel and its JSON
-- Answers for each event its position, then 1 if it had been appended before or 0.

local channels, keep, age, window, epoch = tonumber(ARGV[1]), ARGV[2], tonumber(ARGV[3]), ARGV[4], ARGV[5]
local time = now()
local stamp, deadline = exact(time), time - age

local logs = {}
for i = 1, channels do
  local at = 5 + (i - 1) * 3
  local log = open(KEYS[i * 2 - 1], KEYS[i * 2], epoch, ARGV[at + 2], ARGV[at + 3])
  log.channel, log.added = ARGV[at + 1], 0
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
    -- The id must not be remembered for a position that was not filled.
    redis.call('DEL', id)
    if top(log.stream) > log.head then
      -- The stream is ahead of the meta data: somebody changed one of the two.
      renew(log, epoch)
      offset = exact(log.head + 1)
      position = log.epoch .. ':' .. offset
    end
    -- Where it was something else, this says so.
    redis.call('XADD', log.stream, offset .. '-0', 'e', json, 't', stamp)
    redis.call('SET', id, position, 'PX', window)
  end
  log.head, log.added = log.head + 1, log.added + 1
  -- protocol::event_frame writes the same.
  redis.call('PUBLISH', log.channel, '{"type":"event","position":"' .. position .. '","event":' .. json .. '}')
  return position, 0
end

local answer = {}
local done, problem = pcall(function()
  local first = 5 + channels * 3
  for i = 1, #KEYS - channels * 2 do
    local at = first + i * 2
    answer[i * 2 - 1], answer[i * 2] = add(logs[tonumber(ARGV[at - 1])], KEYS[channels * 2 + i], ARGV[at])
  end
end)

-- Also where Redis refused something on the way (by its access rules, say): what was appended until then stands.
for _, log in ipairs(logs) do
  if log.added > 0 then
    redis.call('HSET', log.meta, 'offset', exact(log.head))
    -- Age is looked at once in 64 events: then up to twice as many go as came, at least 128.
    if log.head % 64 < log.added then
      local oldest = redis.call('XRANGE', log.stream, '-', '+', 'COUNT', 1)[1]
      if oldest and time_of(oldest) < deadline then
        for _, entry in ipairs(redis.call('XRANGE', log.stream, '-', '+', 'COUNT', math.max(128, log.added * 2))) do
          oldest = entry
          if time_of(entry) >= deadline then
            break
          end
        end
        redis.call('XTRIM', log.stream, 'MAXLEN', '~', exact(log.head - offset_of(oldest) + 1))
      end
    end
  end
end
if not done then
  return type(problem) == 'table' and problem or redis.error_reply(problem)
end
return answer

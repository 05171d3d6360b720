-- Appends what publishers bring to the logs of their channels and publishes each event. Before this part stands one that
-- remembers ids: ids_by_key.lua or ids_in_hash.lua.
--
-- KEYS: stream and meta of each channel, then where ids are remembered
-- ARGV: number of channels, log_max_events, log_max_age (ms), dedup_window (ms), an unused epoch,
--       then for each channel its pub/sub channel and what the node knows of its log,
--       then for each publisher's batch the number of its events, and for each the number of its channel, its JSON and, in
--       a hash, its id
-- Answers for each batch what went wrong or nothing, then for each event its position, after a `=` where it had been
-- appended before.

local call = redis.call
local channels, keep, age, epoch = tonumber(ARGV[1]), ARGV[2], tonumber(ARGV[3]), ARGV[5]
local stamp = exact(time)
local logs = {}

-- What is wrong with one channel is found out by those alone who write to it.
local function log_of(number)
  local i = tonumber(number)
  local at = 4 + i * 2
  local log = open(KEYS[i * 2 - 1], KEYS[i * 2], epoch, ARGV[at + 1])
  log.channel, log.added = ARGV[at], 0
  logs[number] = log
  return log
end

-- Whether what stood at a position when its id was remembered is still here. Ids and events are lost together, so what
-- somebody wrote who did not know of a loss counts too.
local function has(log, position)
  local epoch, offset = string.match(position, '^(%w+):(%d+)$')
  local _, head = left_of(log, epoch)
  return epoch == log.epoch or tonumber(offset) <= head
end

local function add(log, id, json)
  local offset = exact(log.head + 1)
  local position = log.epoch .. ':' .. offset
  if not remember_new(id, position) then
    local first = string.match(remembered(id) or '', '^%w+:%d+$')
    if first and has(log, first) then
      return '=' .. log.epoch .. string.match(first, ':.*')
    end
    -- It was lost: here it is new.
    remember(id, position)
  end
  -- An id without its second half is `OFFSET-0`.
  local added = redis.pcall('XADD', log.stream, 'MAXLEN', '~', keep, offset, 'e', json, 't', stamp)
  if type(added) == 'table' and added.err then
    -- The id must not be remembered for a position that was not filled.
    forget(id)
    if top(log.stream) > log.head then
      -- The stream is ahead of the meta data: somebody changed one of the two.
      renew(log, epoch, 0)
      offset = exact(log.head + 1)
      position = log.epoch .. ':' .. offset
    end
    -- Where it was something else, this says so.
    call('XADD', log.stream, offset, 'e', json, 't', stamp)
    remember(id, position)
  end
  log.head, log.added = log.head + 1, log.added + 1
  -- protocol::event_frame writes the same.
  call(PUBLISH, log.channel, '{"type":"event","position":"' .. position .. '","event":' .. json .. '}')
  return position
end

local answer, n, event = {}, 0, 0
local arg = 6 + channels * 2

local function batch(events)
  for i = 1, events do
    local at = arg + 1 + (i - 1) * FIELDS
    answer[n + i] = add(logs[ARGV[at]] or log_of(ARGV[at]), id_of(event + i, at), ARGV[at + 1])
  end
end

while arg <= #ARGV do
  local events = tonumber(ARGV[arg])
  n = n + 1
  answer[n] = ''
  local done, problem = pcall(batch, events)
  if not done then
    -- Redis refused something on the way (by its access rules, say): what was appended until then stands, the rest of the
    -- batch is left out, and the others have nothing to do with it.
    answer[n] = type(problem) == 'table' and problem.err or problem
    for i = n + 1, n + events do
      answer[i] = ''
    end
  end
  n, event, arg = n + events, event + events, arg + 1 + events * FIELDS
end

for _, log in pairs(logs) do
  if log.added > 0 then
    call('HSET', log.meta, 'offset', exact(log.head))
    -- Age is looked at once in 64 events: then up to twice as many go as came, at least 128.
    if log.head % 64 < log.added then
      forget_old(log)
      local oldest, deadline = call('XRANGE', log.stream, '-', '+', 'COUNT', 1)[1], time - age
      if oldest and time_of(oldest) < deadline then
        for _, entry in ipairs(call('XRANGE', log.stream, '-', '+', 'COUNT', math.max(128, log.added * 2))) do
          oldest = entry
          if time_of(entry) >= deadline then
            break
          end
        end
        call('XTRIM', log.stream, 'MAXLEN', '~', exact(log.head - offset_of(oldest) + 1))
      end
    end
  end
end
return answer

-- Appends batches of events to the logs of their channels, and publishes them. log.lua, keep_latest.lua and one of
-- ids_by_key.lua and ids_in_hash.lua, which remember the ids of the deduplication window, stand before this part. The last one
-- also says by which command
-- to publish (PUBLISH) and whether each event is published or only the newest position (EVENTS). A line between the two parts
-- may change that.
--
-- KEYS: stream and meta of each channel, with ids_in_hash.lua the hash of ids, then the hash and the sorted set of the newest
--       events of each channel that keeps them, then with ids_by_key.lua a key for each event
-- ARGV: the number of channels, dedup_window (ms), the call's nonce, which is also an unused epoch;
--       for each channel its pub/sub channel, the node's fingerprint of its log, log_max_events, log_max_age (ms), how long
--       the newest event of each subject is kept (ms; '' if it is not) and of how many subjects;
--       for each batch the number of its events, and for each event the number of its channel, its JSON, its subject or ''
--       and (with ids_in_hash.lua) its id
-- Returns for each batch an error text or '', then for each of its events the position. A `=` before the position marks a
-- duplicate: the event had been appended before. Behind the batches, it returns for each channel that keeps newest events the
-- number of subjects and how many of them were too many, '' if they were not looked at. Or returns SEND_NONCES, and appends
-- nothing; a new epoch may have begun then.

local call = redis.call
local channels, epoch = tonumber(ARGV[1]), ARGV[3]
local logs, answer, n = {}, {}, 0

-- The key of the newest events of each channel that keeps them.
local latest_keys = {}
other_keys = channels * 2 + IDS
for number = 1, channels do
  if ARGV[number * 6 + 2] ~= '' then
    latest_keys[number], other_keys = other_keys + 1, other_keys + 2
  end
end

-- Opens the log of a channel.
local function log_of(number)
  local i = tonumber(number)
  local at = i * 6 - 2
  local log = open(KEYS[i * 2 - 1], KEYS[i * 2], epoch, ARGV[at + 1])
  if log then
    log.channel, log.added, log.stamp = ARGV[at], 0, integer(log.now)
    log.keep, log.age = tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3])
    -- The offset in the meta hash; the batches that added events.
    log.written, log.batches = log.head, {}
    local key = latest_keys[i]
    log.latest = key and {
      values = KEYS[key], order = KEYS[key + 1], age = tonumber(ARGV[at + 4]), most = tonumber(ARGV[at + 5]),
    }
    logs[number] = log
  end
  return log
end

-- All logs are open before the first event is appended, so that a call which must be sent again has appended nothing. A log
-- that cannot be opened is opened again with its first batch: the error affects only the batches with this channel.
local all_open = true
for number = 1, channels do
  local opened, log = pcall(log_of, integer(number))
  if opened and not log then
    return SEND_NONCES
  end
  all_open = all_open and opened
end

-- Whether the log still has the event at this position, which was remembered with its id. Ids and events are lost together.
-- So an event between SHARED and HEAD of a past epoch counts as well.
local function has(log, position)
  local epoch, offset = string.match(position, '^(%w+):(%d+)$')
  local _, head = past_epoch(log, epoch)
  if epoch == log.epoch then
    -- The stream is asked, because a server that ended within this script may have kept the head without its event.
    head = math.min(log.head, last_offset(log.stream))
  end
  return tonumber(offset) <= head
end

local function add(log, id, json, subject)
  if log.latest and log.latest.epoch ~= log.epoch then
    open_latest(log)
  end
  local offset = integer(log.head + 1)
  local position = log.epoch .. ':' .. offset
  if not remember_new(id, position) then
    local first = string.match(remembered(id) or '', '^%w+:%d+$')
    if first and has(log, first) then
      return '=' .. log.epoch .. string.match(first, ':.*')
    end
    -- The event was lost, so it is appended again.
    remember(id, position)
  end
  if log.added == 0 and log.written == log.head then
    -- Before the first XADD: if the user may not do this, no event must be in the stream and not in the log. A call with one
    -- event needs no other HSET.
    local written = redis.pcall('HSET', log.meta, 'offset', offset, 'time', log.stamp)
    if type(written) == 'table' then
      forget(id)
      error(written)
    end
    log.written = log.head + 1
  end
  -- XADD completes the id OFFSET to `OFFSET-0`.
  local added = redis.pcall('XADD', log.stream, offset, 'e', json, 't', log.stamp, 'n', epoch)
  if type(added) == 'table' and added.err then
    -- No event has the position, so the id must not be remembered with it.
    forget(id)
    if last_offset(log.stream) > log.head then
      -- The stream is ahead of the meta hash: somebody changed one of the two.
      begin_epoch(log, epoch, 0)
      log.written = log.head
      offset = integer(log.head + 1)
      position = log.epoch .. ':' .. offset
      if log.latest then
        open_latest(log)
      end
    end
    -- If the first XADD failed for another reason, this one raises the same error.
    call('XADD', log.stream, offset, 'e', json, 't', log.stamp, 'n', epoch)
    remember(id, position)
  end
  log.head, log.added = log.head + 1, log.added + 1
  if log.latest and subject ~= '' then
    keep_latest(log, subject, offset, json)
  end
  if EVENTS then
    -- The same text as protocol::event_frame.
    call(PUBLISH, log.channel, '{"type":"event","position":"' .. position .. '","event":' .. json .. '}')
  else
    log.batches[n] = true
  end
  return position
end

local arg, event = 4 + channels * 6, 0

local function batch(events)
  -- An event and its cascade are in one batch, and only one of them must not be appended. So a log that cannot be opened
  -- refuses its batch before the first event.
  for i = 1, all_open and 0 or events do
    local number = ARGV[arg + 1 + (i - 1) * FIELDS]
    if not logs[number] then
      log_of(number)
    end
  end
  for i = 1, events do
    local at = arg + 1 + (i - 1) * FIELDS
    answer[n + i] = add(logs[ARGV[at]], id_of(event + i, at), ARGV[at + 1], ARGV[at + 2])
  end
end

while arg <= #ARGV do
  local events = tonumber(ARGV[arg])
  n = n + 1
  answer[n] = ''
  local done, problem = pcall(batch, events)
  if not done then
    -- Redis refused a command, for instance by its access rules. The events of the batch before it stay appended, the rest
    -- of the batch is left out, and the other batches continue.
    answer[n] = type(problem) == 'table' and problem.err or problem
    for i = n + 1, n + events do
      answer[i] = ''
    end
  end
  n, event, arg = n + events, event + events, arg + 1 + events * FIELDS
end

for _, log in pairs(logs) do
  if log.latest and log.latest.epoch then
    -- If it is refused, no value counts, and the next append begins without any.
    pcall(close_latest, log)
  end
  if log.written ~= log.head then
    call('HSET', log.meta, 'offset', integer(log.head), 'time', log.added > 0 and log.stamp or integer(log.time))
  end
  if log.added > 0 and not EVENTS then
    -- The same text as protocol::position_message.
    local text = '{"type":"position","position":"' .. log.epoch .. ':' .. integer(log.head) .. '"}'
    local published = redis.pcall(PUBLISH, log.channel, text)
    if type(published) == 'table' then
      for number in pairs(log.batches) do
        answer[number] = published.err
      end
    end
  end
end

-- Trims a log: removes what is not retained, up to 10,000 entries at a time (the default LIMIT of XTRIM).
local function trim(log)
  forget_old(log)
  if log.latest then
    expire_latest(log)
  end
  local stored = oldest_stored(log)
  local oldest = first_appended_since(log, math.max(stored, log.head - log.keep + 1), time - log.age)
  if stored < oldest then
    local newest = range(log, oldest - 1, 1)[1]
    call('HSET', log.meta, 'trimmed', integer(oldest - 1) .. ' ' .. integer(time_of(newest)))
    call('XTRIM', log.stream, 'MAXLEN', '~', integer(log.head - oldest + 1))
  end
end

for _, log in pairs(logs) do
  -- Once in 64 events. A refusal does not concern the publishers: the readiness probe names the missing right.
  if log.added > 0 and log.head % 64 < log.added then
    pcall(trim, log)
  end
end
for number = 1, channels do
  if latest_keys[number] then
    local log = logs[integer(number)]
    local latest = log and log.latest or {}
    answer[n + 1], answer[n + 2], n = latest.kept or '', latest.evicted or '', n + 2
  end
end
return answer

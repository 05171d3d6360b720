-- A channel's log. This part stands before every script that works on logs.
--
-- A log has two keys. The stream has the events, with the entry ids `OFFSET-0`. The hash (`meta`) has the log's epoch
-- (`epoch`), its newest offset (`offset`) and that event's time (`time`), its past epochs (`past`), and `OFFSET TIME` of the
-- newest event that a script may have trimmed (`trimmed`).
--
-- When the log loses events, a new epoch begins. The surviving events stay in the log under the same offsets. `past` has an
-- entry `EPOCH:SHARED:HEAD:ENDED` for each past epoch, the last one first:
-- - Up to the offset SHARED the log is what it was in that epoch. A reader that had come so far continues after its
--   position, and gets no event twice.
-- - From SHARED to HEAD the log had, or may have had, other events in that epoch: another node appended there without
--   knowing of the loss. A reader with such a position, or a higher one, continues after SHARED. It may get events again,
--   but misses none.
-- - ENDED is the time at which the loss was detected. The lost events are of that time or earlier.
-- SHARED is the newest event that the node which detected the loss knows and the log still has; 0 if there is none. For an
-- unknown epoch SHARED is 0.
--
-- While a cluster moves a slot, a script runs only if all keys that it names exist on the same node. So every log has its
-- stream from the beginning, even an empty one.

-- An integer as text. tostring() writes large ones with an exponent.
local function integer(number)
  return string.format('%d', number)
end

-- Redis' clock, in ms since 1970.
local time = redis.call('TIME')
time = time[1] * 1000 + math.floor(time[2] / 1000)

local function offset_of(entry)
  return tonumber(string.match(entry[1], '^%d+'))
end

-- When an entry was appended, in ms. An entry without this field is not ours, and counts as the oldest.
local function time_of(entry)
  return tonumber(entry[2][4] or 0) or 0
end

-- The largest offset that a stream ever had, 0 if there is no stream.
local function last_offset(stream)
  if redis.call('EXISTS', stream) == 1 then
    local info = redis.call('XINFO', 'STREAM', stream)
    for i = 1, #info, 2 do
      if info[i] == 'last-generated-id' then
        return tonumber(string.match(info[i + 1], '^%d+'))
      end
    end
  end
  return 0
end

-- An entry of `past`. An earlier version wrote none of the times, and drops those that it finds.
local PAST_EPOCH = '(%w+):(%d+):(%d+):?(%d*)'

-- Begins a new epoch. Its head is the largest offset that the stream ever had, because a stream accepts no smaller id. Up
-- to the offset `shared` the log is what it was in the old epoch.
local function begin_epoch(log, epoch, shared)
  local head = math.max(log.head, last_offset(log.stream))
  if redis.call('EXISTS', log.stream) == 0 then
    redis.call('XADD', log.stream, 'MAXLEN', 0, '0-1', '', '')
  end
  local past = {}
  if log.epoch then
    past[1] = table.concat({ log.epoch, integer(shared), integer(log.head), integer(log.now) }, ':')
  end
  for past_epoch, past_shared, past_head, ended in string.gmatch(log.past, PAST_EPOCH) do
    if #past < 8 then
      past[#past + 1] = table.concat({ past_epoch, integer(math.min(shared, tonumber(past_shared))), past_head, ended }, ':')
    end
  end
  log.epoch, log.head, log.past = epoch, head, table.concat(past, ' ')
  redis.call('HSET', log.meta, 'epoch', epoch, 'offset', integer(head), 'past', log.past)
end

-- SHARED and HEAD of a past epoch.
local function past_epoch(log, epoch)
  local shared, head = string.match(' ' .. log.past, ' ' .. epoch .. ':(%d+):(%d+)')
  return tonumber(shared or 0), tonumber(head or 0)
end

-- Compares the log with a node's fingerprint of it. Returns nil or false if they match. If the log has lost events, returns
-- SHARED, the offset up to which it is unchanged. The fingerprint is '' or `EPOCH OFFSET`, the newest position that the
-- node knows. A full one continues with the events that the node knows of that epoch (OFFSET:SHA-1 with commas, the newest
-- first, or `-`) and with past epochs.
local function find_loss(log, fingerprint)
  local epoch, offset, rest = string.match(fingerprint, '^(%w+) (%d+)(.*)$')
  if epoch ~= log.epoch then
    -- A log that is in a past epoch again was restored from an older state.
    return epoch and string.find(rest .. ' ', ' ' .. log.epoch .. ' ', 1, true) and 0
  end
  local loss = tonumber(offset) > log.head
  for at, digest in string.gmatch(string.match(rest, '^ (%S+)') or '', '(%d+):(%x+)') do
    if tonumber(at) <= log.head then
      local entry = redis.call('XRANGE', log.stream, at .. '-0', at .. '-0')[1]
      if not entry then
        break
      elseif redis.sha1hex(entry[2][2]) == digest then
        return loss and tonumber(at)
      end
      -- The log was restored, and a node that did not know of the loss has appended another event here.
      loss = true
    end
  end
  return loss and 0
end

-- Opens the log: reads its state, and compares it with the fingerprint. Begins the epoch `new_epoch` if the log has none,
-- or has lost events.
local function open(stream, meta, new_epoch, fingerprint)
  local fields = redis.call('HMGET', meta, 'epoch', 'offset', 'past', 'time')
  local log = { stream = stream, meta = meta, epoch = fields[1], head = tonumber(fields[2] or 0) or 0 }
  log.past = fields[3] or ''
  -- Entries are in the order of their times, also after Redis' clock was set back.
  log.now = math.max(time, tonumber(fields[4] or 0) or 0)
  local known = string.match(fingerprint, '^(%w+) ')
  local shared = not log.epoch and 0 or find_loss(log, fingerprint)
  if not log.epoch then
    -- The log that the node knows is gone.
    log.epoch = known
  elseif known and known ~= log.epoch and not string.find(' ' .. log.past, ' ' .. known .. ':', 1, true) then
    -- It is gone, too, and a node that did not know it has begun this one.
    log.past = known .. ':0:0:' .. integer(log.now) .. ' ' .. log.past
    redis.call('HSET', meta, 'past', log.past)
  end
  if shared then
    begin_epoch(log, new_epoch, shared)
  end
  return log
end

-- Up to `count` entries from the offset `first` on.
local function range(log, first, count)
  if first > log.head or count < 1 then
    return {}
  end
  return redis.call('XRANGE', log.stream, integer(first) .. '-0', integer(log.head) .. '-0', 'COUNT', count)
end

-- The offset of the oldest entry in the stream, `head + 1` if it has none.
local function oldest_stored(log)
  local oldest = redis.call('XRANGE', log.stream, '-', '+', 'COUNT', 1)[1]
  return oldest and offset_of(oldest) or log.head + 1
end

-- The offset of the first entry from `low` on that was appended at `time` or later, `head + 1` if there is none; and that of
-- the last entry before it, `low - 1` if there is none. A binary search, because entries are in the order of their times.
local function first_appended_since(log, low, time)
  local high = log.head + 1
  local first, middle = high, low
  while low < high do
    local entry = range(log, middle, 1)[1]
    if entry and time_of(entry) < time then
      low = offset_of(entry) + 1
    else
      high = middle
      first = entry and offset_of(entry) or first
    end
    middle = math.floor((low + high) / 2)
  end
  return first, low - 1
end

-- The offset of the oldest entry that is retained: among the newest `keep`, and appended at `deadline` or later. The stream
-- may have older entries, because it is trimmed coarsely.
local function oldest_retained(log, keep, deadline)
  return (first_appended_since(log, math.max(0, log.head - keep) + 1, deadline))
end

-- A channel's log: a stream whose entries are `OFFSET-0`, and a hash that says which life of the log this is (`epoch`),
-- the newest offset (`offset`) and the offset before the epoch's first (`base`). This part stands before every script
-- that works on logs.
--
-- While a slot of a cluster moves, a script runs only where all keys are that it names, and only if they exist. So a log
-- has its stream from the beginning, be it empty.

-- Numbers as text: tostring() would write large ones with an exponent.
local function exact(number)
  return string.format('%d', number)
end

-- What Redis' clock says, in ms.
local time = redis.call('TIME')
time = time[1] * 1000 + math.floor(time[2] / 1000)

local function offset_of(entry)
  return tonumber(string.match(entry[1], '^%d+'))
end

-- When an entry was appended; what has no such field is not ours and as old as can be.
local function time_of(entry)
  return tonumber(entry[2][4] or 0) or 0
end

-- The largest offset that a stream ever had, 0 where there is no stream.
local function top(stream)
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

-- Begins a new epoch. It goes on above every offset that the stream ever had: what survives of the epoch before keeps
-- its place, at or below `base`, and the stream takes no smaller ids.
local function renew(log, epoch)
  local head = math.max(log.head, top(log.stream))
  if redis.call('EXISTS', log.stream) == 0 then
    redis.call('XADD', log.stream, 'MAXLEN', 0, '0-1', '', '')
  end
  redis.call('HSET', log.meta, 'epoch', epoch, 'offset', exact(head), 'base', exact(head))
  log.epoch, log.head, log.base = epoch, head, head
end

-- Whether the log is known to have lost events. `known` is what a node knows of it, or '': the newest epoch and offset, and
-- then perhaps the offset and the SHA-1 of the newest event that the node has of that epoch, and epochs that are over.
local function lost(log, known)
  local epoch, offset, rest = string.match(known, '^(%w+) (%d+)(.*)$')
  if epoch ~= log.epoch then
    -- It was restored from an older state.
    return epoch and string.find(rest .. ' ', ' ' .. log.epoch .. ' ', 1, true)
  elseif tonumber(offset) > log.head then
    return true
  elseif rest == '' then
    return false
  end
  -- It was restored, and somebody who did not know has gone on.
  local at, digest = string.match(rest, '^ (%d+) (%S+)')
  local entry = redis.call('XRANGE', log.stream, at .. '-0', at .. '-0')[1]
  return entry and redis.sha1hex(entry[2][2]) ~= digest
end

-- The log as it stands. `epoch` is used where one must be begun: where there is none, and where the log has lost events.
local function open(stream, meta, epoch, known)
  local fields = redis.call('HMGET', meta, 'epoch', 'offset', 'base')
  local log = { stream = stream, meta = meta, epoch = fields[1], head = tonumber(fields[2] or 0) or 0 }
  log.base = tonumber(fields[3] or 0) or 0
  if not log.epoch or lost(log, known) then
    renew(log, epoch)
  end
  return log
end

-- Up to `count` entries from an offset on.
local function range(log, first, count)
  if first > log.head or count < 1 then
    return {}
  end
  return redis.call('XRANGE', log.stream, exact(first) .. '-0', exact(log.head) .. '-0', 'COUNT', count)
end

-- The offset of the first entry from `low` on that was appended at `time` or later, `head + 1` where there is none.
-- Entries are in the order of their times: it is found by halving.
local function first_taken(log, low, time)
  local high = log.head + 1
  local first, probe = high, low
  while low < high do
    local entry = range(log, probe, 1)[1]
    if entry and time_of(entry) < time then
      low = offset_of(entry) + 1
    else
      high = probe
      first = entry and offset_of(entry) or first
    end
    probe = math.floor((low + high) / 2)
  end
  return first
end

-- The offset of the oldest entry that is retained: of this epoch, among the newest `keep`, taken at `deadline` or later.
-- Trimming is coarser than that, so what counts is said here.
local function oldest_retained(log, keep, deadline)
  return first_taken(log, math.max(log.base, log.head - keep) + 1, deadline)
end

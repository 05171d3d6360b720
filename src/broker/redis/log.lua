-- A channel's log: a stream whose entries are `OFFSET-0`, and a hash that says which life of the log this is (`epoch`),
-- the newest offset (`offset`), and what the log still has of the lives before it (`past`). This part stands before every
-- script that works on logs.
--
-- What survives a loss is part of the new epoch, under the same offsets. `past` says of each epoch that is over, the last
-- one first, `EPOCH:SAME:HEAD`. Up to SAME the log is what it was in that epoch: who had come so far there goes on after
-- it, and gets nothing twice. What stands between SAME and HEAD was known in that epoch as something else, or may have
-- been: it was written by somebody who did not know what was lost. Who stood there, or above, goes on after SAME, and
-- rather gets an event again than not at all. SAME is the newest event that the node which found the loss has seen, and
-- that is still here; 0 where there is no such event. An epoch of which nothing is known counts as one with SAME 0.
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

-- Begins a new epoch, above every offset that the stream ever had: it takes no smaller ids. Up to the offset `same` the
-- log is what it was in the epoch before.
local function renew(log, epoch, same)
  local head = math.max(log.head, top(log.stream))
  if redis.call('EXISTS', log.stream) == 0 then
    redis.call('XADD', log.stream, 'MAXLEN', 0, '0-1', '', '')
  end
  local past = {}
  if log.epoch then
    past[1] = log.epoch .. ':' .. exact(same) .. ':' .. exact(log.head)
  end
  for name, its_same, its_head in string.gmatch(log.past, '(%w+):(%d+):(%d+)') do
    if #past < 8 then
      past[#past + 1] = name .. ':' .. exact(math.min(same, tonumber(its_same))) .. ':' .. its_head
    end
  end
  log.epoch, log.head, log.past = epoch, head, table.concat(past, ' ')
  redis.call('HSET', log.meta, 'epoch', epoch, 'offset', exact(head), 'past', log.past)
end

-- What the log has of an epoch that is over: SAME and HEAD.
local function left_of(log, epoch)
  local same, head = string.match(' ' .. log.past, ' ' .. epoch .. ':(%d+):(%d+)')
  return tonumber(same or 0), tonumber(head or 0)
end

-- Whether the log is known to have lost events: nil or false, or else the offset up to which it is as it was. `known` is
-- what a node knows of it, or '': the newest epoch and offset, and then perhaps events that the node has of that epoch
-- (OFFSET:SHA-1, the newest first, or a hyphen), and epochs that are over.
local function lost(log, known)
  local epoch, offset, rest = string.match(known, '^(%w+) (%d+)(.*)$')
  if epoch ~= log.epoch then
    -- It was restored from an older state.
    return epoch and string.find(rest .. ' ', ' ' .. log.epoch .. ' ', 1, true) and 0
  end
  local found = tonumber(offset) > log.head
  for at, digest in string.gmatch(string.match(rest, '^ (%S+)') or '', '(%d+):(%x+)') do
    if tonumber(at) <= log.head then
      local entry = redis.call('XRANGE', log.stream, at .. '-0', at .. '-0')[1]
      if not entry then
        break
      elseif redis.sha1hex(entry[2][2]) == digest then
        return found and tonumber(at)
      end
      -- It was restored, and somebody who did not know has gone on.
      found = true
    end
  end
  return found and 0
end

-- The log as it stands. `epoch` is used where one must be begun: where there is none, and where the log has lost events.
local function open(stream, meta, epoch, known)
  local fields = redis.call('HMGET', meta, 'epoch', 'offset', 'past')
  local log = { stream = stream, meta = meta, epoch = fields[1], head = tonumber(fields[2] or 0) or 0 }
  log.past = fields[3] or ''
  local same = not log.epoch and 0 or lost(log, known)
  if same then
    renew(log, epoch, same)
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

-- The offset of the oldest entry that is retained: among the newest `keep`, taken at `deadline` or later. Trimming is
-- coarser than that, so what counts is said here.
local function oldest_retained(log, keep, deadline)
  return first_taken(log, math.max(0, log.head - keep) + 1, deadline)
end

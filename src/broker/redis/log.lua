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
-- Each entry has the event (`e`), the time when it was appended (`t`), and the nonce of the call that appended it (`n`), 8
-- random characters. If the log has at an offset the nonce that a node knows, it has the same event there, and the same
-- events at all lower offsets: a call runs once, and every copy of a stream is a beginning of it. So nonces show which
-- events a node and the log have in common, even if a lost event was appended again.
--
-- While a cluster moves a slot, a script runs only if all keys that it names exist on the same node. So every log has its
-- stream from the beginning, even an empty one.

-- An integer as text. tostring() writes large ones with an exponent.
local function integer(number)
  return string.format('%d', number)
end

-- The answer of a script that has appended nothing: the node must send the call again, with all nonces that it knows.
local SEND_NONCES = redis.error_reply('NONCES the script needs all nonces')

-- The placeholder of an unknown nonce.
local NO_NONCE = '--------'

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

-- The nonce of an entry. One that is not ours has none.
local function nonce_of(entry)
  local nonce = entry[2][6]
  return nonce and #nonce == 8 and nonce or NO_NONCE
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

-- The most past epochs that are kept.
local MAX_PAST = 8

-- An entry of `past`. An earlier version wrote none of the times, and drops those that it finds.
local PAST_EPOCH = '(%w+):(%d+):(%d+):?(%d*)'

-- Begins a new epoch. Its head is the largest offset that the stream ever had, because a stream accepts no smaller id. Up
-- to the offset `shared` the log is what it was in the epoch `of`. Without `of` that is the log's old epoch.
local function begin_epoch(log, epoch, shared, of)
  local head = math.max(log.head, last_offset(log.stream))
  if redis.call('EXISTS', log.stream) == 0 then
    redis.call('XADD', log.stream, 'MAXLEN', 0, '0-1', '', '')
  end
  local past = {}
  if of and of ~= log.epoch then
    past[1] = table.concat({ of, integer(shared), integer(head), integer(log.now) }, ':')
    -- Nobody knows what the log has in common with its other epochs.
    shared = 0
  end
  if log.epoch then
    past[#past + 1] = table.concat({ log.epoch, integer(shared), integer(log.head), integer(log.now) }, ':')
  end
  for past_epoch, past_shared, past_head, ended in string.gmatch(log.past, PAST_EPOCH) do
    if #past < MAX_PAST and past_epoch ~= of then
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

-- Parses a node's fingerprint of the log; nil for one that knows nothing. It is `EPOCH OFFSET`, the newest position that
-- the node knows. On a new connection it continues with `newest` or `all`, the offset of the first nonce that follows, the
-- nonces of consecutive events of that epoch without anything between them, and past epochs.
local function parse(fingerprint)
  local epoch, offset, rest = string.match(fingerprint, '^(%w+) (%d+)(.*)$')
  if not epoch then
    return nil
  end
  local which, first, nonces, past = string.match(rest, '^ (%a+) (%d+) (%S+)(.*)$')
  return {
    epoch = epoch, offset = tonumber(offset), all = which == 'all', past = (past or '') .. ' ',
    nonces = { first = tonumber(first or 0), text = nonces or '' },
  }
end

-- The offset of the last of a node's nonces.
local function last_nonce(nonces)
  return nonces.first + math.floor(#nonces.text / 8) - 1
end

-- The nonce that a node knows for an offset, nil if it knows none.
local function known_nonce(nonces, offset)
  local at = (offset - nonces.first) * 8
  local nonce = at >= 0 and string.sub(nonces.text, at + 1, at + 8) or ''
  return #nonce == 8 and nonce ~= NO_NONCE and nonce or nil
end

-- Looks at the first event from `first` to `last` that the log has and whose nonce the node knows. Returns its offset and
-- whether the two nonces are equal; nil if there is none.
local function compare(log, nonces, first, last)
  while first <= last do
    if known_nonce(nonces, first) then
      local entry = redis.call('XRANGE', log.stream, integer(first) .. '-0', integer(last) .. '-0', 'COUNT', 1)[1]
      if not entry then
        return nil
      end
      first = offset_of(entry)
      local nonce = known_nonce(nonces, first)
      if nonce then
        return first, nonce == nonce_of(entry)
      end
    end
    first = first + 1
  end
end

-- Returns the newest event that the log and a node have in common, and the oldest one found in which they differ; each is
-- nil if there is none. A binary search: below the first difference all events are equal, and above it none is. Offsets
-- that only one of the two has say nothing.
local function newest_common(log, nonces)
  local low, high = nonces.first, math.min(math.max(log.head, last_offset(log.stream)), last_nonce(nonces))
  local common, different
  while low <= high do
    local middle = math.floor((low + high) / 2)
    local offset, equal = compare(log, nonces, middle, high)
    if equal then
      common, low = offset, offset + 1
    else
      different, high = offset or different, middle - 1
    end
  end
  return common, different
end

-- Whether the log has lost events that a node knows.
local function has_lost(log, known)
  if known.epoch ~= log.epoch then
    -- A log that is in a past epoch again was restored from an older state. One without an epoch lost its meta hash.
    return not log.epoch or string.find(known.past, ' ' .. log.epoch .. ' ', 1, true)
  elseif known.offset > log.head then
    return true
  end
  -- The log was restored, and a node that did not know of the loss has appended another event here.
  local newest = last_nonce(known.nonces)
  local offset, equal = compare(log, known.nonces, newest, newest)
  return offset and not equal
end

-- Opens the log: reads its state, and compares it with the fingerprint. Begins the epoch `new_epoch` if the log has none,
-- or has lost events. Returns nil if only all the nonces of the node can tell which events are left: the script then
-- answers SEND_NONCES. `known` is the parsed fingerprint, nil if there was nothing to compare.
local function open(stream, meta, new_epoch, fingerprint)
  local fields = redis.call('HMGET', meta, 'epoch', 'offset', 'past', 'time')
  local log = { stream = stream, meta = meta, epoch = fields[1], head = tonumber(fields[2] or 0) or 0 }
  log.past, log.time = fields[3] or '', tonumber(fields[4] or 0) or 0
  -- Entries are in the order of their times, also after Redis' clock was set back.
  log.now = math.max(time, log.time)
  if fields[1] and fields[2] and fingerprint == fields[1] .. ' ' .. fields[2] then
    -- The usual case: the node knows the newest event and nothing else.
    return log
  end
  log.known = parse(fingerprint)
  if log.known and has_lost(log, log.known) then
    if not log.known.all and redis.call('XRANGE', stream, '-', '+', 'COUNT', 1)[1] then
      return nil
    end
    begin_epoch(log, new_epoch, newest_common(log, log.known.nonces) or 0, log.known.epoch)
  elseif not log.epoch then
    begin_epoch(log, new_epoch, 0)
  elseif log.known and log.known.epoch ~= log.epoch
      and not string.find(' ' .. log.past, ' ' .. log.known.epoch .. ':', 1, true) then
    -- The log that the node knows is gone, and a node that did not know it has begun this one.
    local others = string.match(log.past, '^' .. string.rep('%S+ ', MAX_PAST - 2) .. '%S+') or log.past
    log.past = log.known.epoch .. ':0:0:' .. integer(log.now) .. (others == '' and '' or ' ' .. others)
    redis.call('HSET', meta, 'past', log.past)
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

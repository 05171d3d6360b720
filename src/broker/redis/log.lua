-- A channel's log: a stream whose entries are `OFFSET-0`, and a hash that says which life of the log this is (`epoch`),
-- the newest offset (`offset`) and the offset before the epoch's first (`base`). This part stands before every script
-- that works on logs.

-- Numbers as text: tostring() would write large ones with an exponent.
local function exact(number)
  return string.format('%.0f', number)
end

local function now()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- Begins a new epoch. It goes on above every offset that the stream ever had: what survives of the epoch before keeps
-- its place below `base`, and the stream refuses smaller ids.
local function renew(log, epoch)
  local head = log.head
  if redis.call('EXISTS', log.stream) == 1 then
    local info = redis.call('XINFO', 'STREAM', log.stream)
    for i = 1, #info, 2 do
      if info[i] == 'last-generated-id' then
        head = math.max(head, tonumber(string.match(info[i + 1], '^%d+')))
      end
    end
  end
  redis.call('HSET', log.meta, 'epoch', epoch, 'offset', exact(head), 'base', exact(head))
  log.epoch, log.head, log.base = epoch, head, head
end

-- The log as it stands. `epoch` is used where one must be begun: where there is none, and where a node knows a newer
-- position of this one than the log, which has lost its newest events then.
local function open(stream, meta, epoch, known_epoch, known_offset)
  local fields = redis.call('HMGET', meta, 'epoch', 'offset', 'base')
  local log = { stream = stream, meta = meta, epoch = fields[1], head = tonumber(fields[2] or 0) or 0 }
  log.base = tonumber(fields[3] or 0) or 0
  if not log.epoch or (log.epoch == known_epoch and tonumber(known_offset) > log.head) then
    renew(log, epoch)
  end
  return log
end

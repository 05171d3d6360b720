-- A page of a channel's log, seen at one instant.
--
-- KEYS: stream, meta
-- ARGV: an unused epoch, what the node knows of the log, log_max_events, log_max_age (ms), the epoch and offset after which
--       to read or '' and 0 for the newest events, the most events, the bytes of JSON after which no more are added
-- Answers epoch, head, oldest offset (of what is after the position, where that is of another epoch), the first entry's offset, then the JSON of the entries, which have no hole.

local log = open(KEYS[1], KEYS[2], ARGV[1], ARGV[2])
local known, limit, most = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
if ARGV[5] == log.epoch and known > log.head then
  renew(log, ARGV[1], 0)
end
local oldest = oldest_retained(log, tonumber(ARGV[3]), time - tonumber(ARGV[4]))

local first
if ARGV[5] == '' then
  -- As many as make it likely that the node knows some if the log should lose its newest.
  first = math.max(oldest, log.head - 63)
elseif ARGV[5] == log.epoch then
  first = math.max(oldest, known + 1)
else
  first = math.max(oldest, math.min(known, (left_of(log, ARGV[5]))) + 1)
  oldest = first
end
local answer = { log.epoch, exact(log.head), '', '' }
local after, bytes, hole = first, 0, false
while limit > 0 and bytes < most and not hole do
  -- In steps: the events may be large, and only so many bytes are answered.
  local entries = range(log, after, math.min(limit, 32))
  for _, entry in ipairs(entries) do
    local offset = offset_of(entry)
    if #answer == 4 and offset > first then
      -- Somebody took events out: what is retained begins after the hole.
      first, oldest, after = offset, offset, offset
    end
    hole = offset ~= after
    if hole or bytes >= most then
      break
    end
    answer[#answer + 1] = entry[2][2]
    bytes, after, limit = bytes + #entry[2][2], after + 1, limit - 1
  end
  if #entries == 0 then
    break
  end
end
if #answer == 4 and limit > 0 and first <= log.head and ARGV[5] ~= '' then
  oldest = log.head + 1
end
answer[3], answer[4] = exact(oldest), exact(first)
return answer

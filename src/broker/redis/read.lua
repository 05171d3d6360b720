-- Reads a page of a channel's log.
--
-- KEYS: stream, meta
-- ARGV: an unused epoch, the node's fingerprint of the log, log_max_events, log_max_age (ms), the epoch and offset after
--       which to read ('' and 0 for the newest events), the maximum number of events, the bytes of JSON after which the
--       page is full, and what the reader's node knows of that epoch: `-` for nothing, `=` if it is the epoch of the
--       fingerprint, otherwise the offset of the first nonce, a space, and the nonces
-- Returns the log's epoch, its head, the oldest offset that is available (after the position, if that is of another epoch),
-- the offset of the first entry, the newest event that the log and the reader's node have in common (0 if nothing was
-- compared), the nonces of the entries, and then their JSON (without a position none). The entries are consecutive. Or
-- returns SEND_NONCES.

local log = open(KEYS[1], KEYS[2], ARGV[1], ARGV[2])
if not log then
  return SEND_NONCES
end
local known, limit, most = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
if ARGV[5] == log.epoch and known > log.head then
  begin_epoch(log, ARGV[1], 0)
end
local oldest = oldest_retained(log, tonumber(ARGV[3]), time - tonumber(ARGV[4]))

local first, common
if ARGV[5] == '' then
  -- Nonces for the fingerprint: enough that some of them are likely to survive a loss of the newest.
  first = math.max(oldest, log.head - 63)
elseif ARGV[5] == log.epoch then
  first = math.max(oldest, known + 1)
else
  local shared = past_epoch(log, ARGV[5])
  if ARGV[9] ~= '-' then
    -- The reader's node knows which events the reader has. If another node appended before the loss was detected, SHARED
    -- is lower than that, or it is true of other events.
    local start, text = string.match(ARGV[9], '^(%d+) (%S+)$')
    if not start and not (log.known and log.known.all) then
      return SEND_NONCES
    end
    local different
    common, different = newest_common(log, start and { first = tonumber(start), text = text } or log.known.nonces)
    shared = common or math.min(shared, (different or log.head + 1) - 1)
  end
  first = math.max(oldest, math.min(known, shared) + 1)
  oldest = first
end
local answer, nonces = { log.epoch, integer(log.head), '', '', integer(common or 0), '' }, {}
local after, bytes, hole = first, 0, false
while limit > 0 and bytes < most and not hole do
  -- In steps, because the events may be large and the page is limited in bytes.
  local entries = range(log, after, math.min(limit, 32))
  for _, entry in ipairs(entries) do
    local offset = offset_of(entry)
    if #nonces == 0 and offset > first then
      -- Somebody deleted events. The log begins after the hole.
      first, oldest, after = offset, offset, offset
    end
    hole = offset ~= after
    if hole or bytes >= most then
      break
    end
    if ARGV[5] ~= '' then
      answer[#answer + 1] = entry[2][2]
    end
    nonces[#nonces + 1] = nonce_of(entry)
    bytes, after, limit = bytes + #entry[2][2], after + 1, limit - 1
  end
  if #entries == 0 then
    break
  end
end
if #nonces == 0 and limit > 0 and first <= log.head and ARGV[5] ~= '' then
  oldest = log.head + 1
end
answer[3], answer[4], answer[6] = integer(oldest), integer(first), table.concat(nonces)
return answer

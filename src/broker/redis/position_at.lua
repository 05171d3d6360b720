-- Finds a moment in a channel's log. Or returns SEND_NONCES.
--
-- KEYS: stream, meta
-- ARGV: an unused epoch, the node's fingerprint of the log, log_max_events, log_max_age (ms), the moment (ms since 1970) or
--       '' and how long ago it was (ms)
-- Returns the log's epoch, its head, the offset of the first event that is available and was appended at the moment or
-- later, and the epoch and offset of the newest position that is known to be before the moment.

local log = open(KEYS[1], KEYS[2], ARGV[1], ARGV[2])
if not log then
  return SEND_NONCES
end
local moment = tonumber(ARGV[5]) or time - tonumber(ARGV[6])
local oldest = oldest_retained(log, tonumber(ARGV[3]), time - tonumber(ARGV[4]))
local stored = oldest_stored(log)
local first, before = first_appended_since(log, stored, moment)
if before < stored then
  -- All entries are of the moment or later. Whether the missing ones are, only a script that trimmed them knows: an operator
  -- and an earlier version of tidings leave no record.
  local record = redis.call('HMGET', log.meta, 'trimmed')[1]
  local trimmed, newest = string.match(record or '', '^(%d+) (%d+)$')
  before = trimmed and tonumber(newest) < moment and math.min(before, tonumber(trimmed)) or 0
end
local epoch = log.epoch
for past, shared, _, ended in string.gmatch(log.past, PAST_EPOCH) do
  -- The first epoch that ended at the moment or later. The last epochs come first. When one without a time ended is not
  -- known.
  if (tonumber(ended) or moment) < moment then
    break
  end
  epoch, before = past, math.min(before, tonumber(shared))
end
return { log.epoch, integer(log.head), integer(math.max(first, oldest)), epoch, integer(before) }

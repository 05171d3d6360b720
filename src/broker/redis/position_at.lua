-- Returns the position before the first event that was appended at a moment or later. Or returns SEND_NONCES.
--
-- KEYS: stream, meta
-- ARGV: an unused epoch, the node's fingerprint of the log, log_max_events, log_max_age (ms), the moment (ms since 1970) or
--       '' and how long ago it was (ms)

local log = open(KEYS[1], KEYS[2], ARGV[1], ARGV[2])
if not log then
  return SEND_NONCES
end
local moment = tonumber(ARGV[5]) or time - tonumber(ARGV[6])
local first = oldest_retained(log, tonumber(ARGV[3]), math.max(moment, time - tonumber(ARGV[4])))
return log.epoch .. ':' .. integer(first - 1)

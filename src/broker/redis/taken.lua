-- The position after which stand the events that were taken from a moment on.
--
-- KEYS: stream, meta
-- ARGV: an unused epoch, log_max_events, log_max_age (ms), the moment (ms since 1970) or '', how long ago it was (ms)

local log = open(KEYS[1], KEYS[2], ARGV[1], '', 0)
local moment = tonumber(ARGV[4]) or time - tonumber(ARGV[5])
local first = oldest_retained(log, tonumber(ARGV[2]), math.max(moment, time - tonumber(ARGV[3])))
return log.epoch .. ':' .. exact(first - 1)

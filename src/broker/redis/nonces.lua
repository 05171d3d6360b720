-- Returns the nonces of events that the log has retained, so that a node also knows the events that it did not see.
--
-- KEYS: stream, meta
-- ARGV: an unused epoch, the node's fingerprint of the log, the offset from which on, the maximum number of events, the
--       bytes of JSON after which no further ones are read
-- Returns the log's epoch, the offset of the first event, the nonces of consecutive events, and the offset from which the
-- next call continues; 0 if the head is reached. Or returns SEND_NONCES.

local log = open(KEYS[1], KEYS[2], ARGV[1], ARGV[2])
if not log then
  return SEND_NONCES
end
local first, after, bytes, nonces, hole = nil, tonumber(ARGV[3]), 0, {}, false
repeat
  local entries = range(log, after, 32)
  for _, entry in ipairs(entries) do
    local offset = offset_of(entry)
    first = first or offset
    hole = #nonces > 0 and offset ~= after
    if hole then
      break
    end
    nonces[#nonces + 1] = nonce_of(entry)
    after, bytes = offset + 1, bytes + #entry[2][2]
  end
until hole or #entries == 0 or #nonces >= tonumber(ARGV[4]) or bytes >= tonumber(ARGV[5])
local done = #nonces == 0 or after > log.head
return { log.epoch, integer(first or 0), table.concat(nonces), integer(done and 0 or after) }

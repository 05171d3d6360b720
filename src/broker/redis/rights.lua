#!lua flags=no-writes
-- Finds out which commands of a publication, a read and the registry the user may not run. The script writes nothing: in a
-- read-only script Redis checks the user's rights first and then refuses the command. Redis before 7.0 cannot do that, and
-- fails to compile the script.
--
-- KEYS: stream, meta and hash of ids of the probe's log
-- ARGV: the pub/sub channel of the probe; 'cluster', or whether that channel is 'sharded' or 'plain'; and 'latest' if a type keeps
--       the newest event of each subject, or ''
-- Returns the refused commands, each followed by Redis' text.

local stream, meta, ids = KEYS[1], KEYS[2], KEYS[3]
local commands = {
  { 'TIME' },
  { 'HMGET', meta, 'epoch' },
  { 'HSET', meta, 'offset', '0' },
  { 'HDEL', meta, 'none' },
  { 'HGETALL', meta },
  { 'EXISTS', stream },
  { 'XINFO', 'STREAM', stream },
  { 'XADD', stream, '*', 'e', '' },
  { 'XRANGE', stream, '-', '+', 'COUNT', '1' },
  { 'XTRIM', stream, 'MAXLEN', '0' },
  { 'PEXPIRE', meta, '1' },
}
local others = ARGV[2] == 'cluster'
    and { { 'HGET', ids, 'none' }, { 'HSETNX', ids, 'none', '' }, { 'HSCAN', ids, '0' } }
  or { { 'GET', stream .. ':none' }, { 'SET', stream .. ':none', '', 'PX', '1' }, { 'PUBLISH', ARGV[1], '' } }
if ARGV[2] ~= 'plain' then
  others[#others + 1] = { 'SPUBLISH', ARGV[1], '' }
end
for _, command in ipairs(others) do
  commands[#commands + 1] = command
end

if ARGV[3] == 'latest' then
  for _, command in ipairs({
    { 'DEL', meta }, { 'ZADD', meta, '0', '' }, { 'ZCARD', meta }, { 'ZCOUNT', meta, '0', '0' }, { 'ZRANGE', meta, '0', '0' },
    { 'ZREM', meta, '' },
  }) do
    commands[#commands + 1] = command
  end
end

local refused = {}
for _, command in ipairs(commands) do
  local reply = redis.pcall(unpack(command))
  local problem = type(reply) == 'table' and reply.err or ''
  if string.find(problem, 'user executing the script', 1, true) or string.find(problem, 'NOPERM', 1, true) then
    refused[#refused + 1] = command[1]
    refused[#refused + 1] = problem
  end
end
return refused

-- The end of the probe's script: log.lua, keep_latest.lua, one of ids_by_key.lua and ids_in_hash.lua, and append.lua and read.lua as the
-- functions `append` and `read` stand before this part. So the probe takes the way of a publication and of a read, on a log
-- of its own, and looks at the heads of the channels' logs on the way.
--
-- KEYS: those of append.lua, for one event on one channel; then the meta hashes whose heads are looked at
-- ARGV: those of append.lua; those of read.lua; then further meta hashes, which a script in a cluster may not name as KEYS
-- Returns why the event was not appended, or ''; why the log was not read, or ''; and for each meta hash its
-- `EPOCH:OFFSET`, '' if it has none, or '!' and why it cannot be looked at.

local APPEND, READ = 10 + FIELDS, 9

local function refusal(done, problem)
  return done and '' or type(problem) == 'table' and problem.err or problem
end

-- The log outlives its node for a minute.
local function expire()
  -- In a cluster the third key is the hash of ids. On one server it is a key that expires by itself.
  for i = 1, 2 + IDS do
    redis.call('PEXPIRE', KEYS[i], 60000)
  end
end

local done, appended = pcall(append, { unpack(ARGV, 1, APPEND) })
local refused = done and appended[1] or refusal(false, appended)
local expires, problem = pcall(expire)
local answer = { refused ~= '' and refused or refusal(expires, problem) }
answer[2] = refusal(pcall(read, { unpack(ARGV, APPEND + 1, APPEND + READ) }))

local function look(meta)
  local fields = redis.pcall('HMGET', meta, 'epoch', 'offset')
  if fields.err then
    answer[#answer + 1] = '!' .. fields.err
  else
    answer[#answer + 1] = fields[1] and fields[2] and fields[1] .. ':' .. fields[2] or ''
  end
end

for i = 4, #KEYS do
  look(KEYS[i])
end
for i = APPEND + READ + 1, #ARGV do
  look(ARGV[i])
end
return answer

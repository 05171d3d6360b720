-- Whether the user may subscribe to some channels. Redis before 7.0 cannot tell.
--
-- ARGV: the names of the channels
-- Returns 1, or 0 if the user may not.

for _, channel in ipairs(redis.acl_check_cmd and ARGV or {}) do
  if not redis.acl_check_cmd('SUBSCRIBE', channel) then
    return 0
  end
end
return 1

-- Writes a key and publishes a message to the node's own listener, to prove that the node can do both.
--
-- KEYS: the node's probe key
-- ARGV: the message, PUBLISH or SPUBLISH, the pub/sub channel

redis.call('SET', KEYS[1], ARGV[1], 'PX', 60000)
return redis.call(ARGV[2], ARGV[3], ARGV[1])

-- Proves that this node can write, and sends a message to its own subscriber.
--
-- KEYS: the node's probe key
-- ARGV: the message, PUBLISH or SPUBLISH, the pub/sub channel

redis.call('SET', KEYS[1], ARGV[1], 'PX', 60000)
return redis.call(ARGV[2], ARGV[3], ARGV[1])

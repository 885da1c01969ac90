-- A job's kept events.
return redis.call('LRANGE', EVENTS .. ARGV[3], 0, -1)

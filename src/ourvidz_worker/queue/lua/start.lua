-- The work begins: -1 when the lease is lost, else whether `processing` was told already.
local id, fence, at = ARGV[3], ARGV[4], ARGV[5]
if not held(id, fence) then return -1 end
redis.call('HSET', JOB .. id, 'started_at', at)
return redis.call('HGET', JOB .. id, 'told') and 1 or 0

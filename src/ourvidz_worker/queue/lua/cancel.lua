-- End a waiting job or mark a leased one; what a waiting one owes now is known to the caller.
local id, nonce, at, body = ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local job = redis.call('HMGET', JOB .. id, 'status', 'entry', 'lane', 'ended')
if not job[1] then return 'unknown' end
if job[4] == nonce then return 'cancelled' end
if job[1] == 'leased' then
  redis.call('HSET', JOB .. id, 'cancel', '1')
  if body ~= '' then redis.call('HSETNX', JOB .. id, 'cancel_body', string.sub(body, 2)) end
  return 'requested'
end
if job[1] ~= 'waiting' then return 'terminal' end
local kept = redis.call('HMGET', ENTRY .. job[2], 'list', 'raw')
if kept[1] and kept[2] then redis.call('LREM', kept[1], 1, kept[2]) end
drop_entry(job[2], job[3])
finish(id, 'cancelled', at, nonce, body)
return 'cancelled'

-- A callback was accepted or given up; after a job's last one nothing is owed for it.
local id, status, nonce, dead = ARGV[3], ARGV[4], ARGV[5], ARGV[6]
if dead ~= '' then
  redis.call('RPUSH', CALLBACK_DEAD, string.sub(dead, 2))
  redis.call('LTRIM', CALLBACK_DEAD, -KEPT_LETTERS, -1)
end
if redis.call('EXISTS', JOB .. id) == 0 then return 0 end
if status == 'processing' then
  redis.call('HSET', JOB .. id, 'told', '1')
elseif status ~= 'queued' and redis.call('HGET', JOB .. id, 'ended') == nonce then
  redis.call('SREM', DUE .. pod, id)
  close(id, status)
end
return 1

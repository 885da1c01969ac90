-- End as cancelled a pushed job that still waits in a list; 0 when it waits there no more.
local list, entry, id, nonce, at, body = ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7], ARGV[8]
local lane, class, kind, user, payload = ARGV[9], ARGV[10], ARGV[11], ARGV[12], ARGV[13]
if redis.call('EXISTS', JOB .. id, DONE .. id) > 0 then return 0 end
local page = 500
for first = 0, redis.call('LLEN', list) - 1, page do
  for _, raw in ipairs(redis.call('LRANGE', list, first, first + page - 1)) do
    if string.find(raw, id, 1, true) and redis.sha1hex(raw) == entry then
      redis.call('LREM', list, 1, raw)
      local seq = redis.call('HGET', ENTRY .. entry, 'seq') or redis.call('INCR', SEQ)
      drop_entry(entry, lane)
      redis.call('HSET', JOB .. id, 'id', id, 'lane', lane, 'class', class, 'type', kind,
        'user_id', user, 'payload', payload, 'submitted_at', at, 'pushed', '1', 'tries', 0)
      redis.call('ZADD', RECENT, seq, id)
      finish(id, 'cancelled', at, nonce, body)
      return 1
    end
  end
end
return 0

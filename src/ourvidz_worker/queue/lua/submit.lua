-- Accept a job: its record, and an element of ours at the right of its lane's list.
local id, payload, nonce, raw, list = ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7]
local lane, class, kind, user, at = ARGV[8], ARGV[9], ARGV[10], ARGV[11], ARGV[12]
local kept = redis.call('HMGET', JOB .. id, 'payload', 'accepted')
if kept[2] == nonce then return 'accepted' end
if kept[1] then return kept[1] == payload and 'existing' or 'conflict' end
if redis.call('EXISTS', DONE .. id) == 1 then return 'existing' end
local entry = redis.sha1hex(raw)
local seq = redis.call('INCR', SEQ)
redis.call('RPUSH', list, raw)
redis.call('HSET', ENTRY .. entry, 'lane', lane, 'class', class, 'user', user, 'seq', seq,
  'list', list, 'state', 'waiting', 'raw', raw)
redis.call('EXPIRE', ENTRY .. entry, WAITING_S)
redis.call('HSET', JOB .. id, 'id', id, 'type', kind, 'user_id', user, 'lane', lane,
  'class', class, 'payload', payload, 'submitted_at', at, 'accepted', nonce, 'entry', entry,
  'status', 'waiting', 'tries', 0)
redis.call('ZADD', RECENT, seq, id)
return 'accepted'

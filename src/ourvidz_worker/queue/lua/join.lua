-- How a leased entry becomes its job's one live entry; it stands before the scripts that bind. What
-- was decoded of the entry are ten values from ARGV[first] on: entry, fence, id, lane, class, type,
-- user, payload, readable, seed. Without a lane it stays in the one that it has.
local BINDING = 10

-- True when another element of this job is being worked on, or the job has ended and was not
-- cleared for another run by the removal of its `worker:done`.
local function is_double(id, entry)
  if redis.call('EXISTS', DONE .. id) == 1 then return true end
  local job = redis.call('HMGET', JOB .. id, 'status', 'entry', 'done', 'lane')
  if not job[1] or job[1] == 'waiting' then return false end
  if job[1] == 'leased' then
    return job[2] ~= entry and redis.call('ZSCORE', LEASES .. job[4], job[2]) and true or false
  end
  return not job[3]
end

local function write(first, kept, at)
  local id, user = ARGV[first + 2], ARGV[first + 6]
  local payload = ARGV[first + 7] ~= '' and string.sub(ARGV[first + 7], 2) or kept.raw
  redis.call('DEL', JOB .. id, EVENTS .. id)
  redis.call('HSET', JOB .. id, 'id', id, 'lane', kept.lane, 'class', ARGV[first + 4],
    'type', ARGV[first + 5], 'user_id', user, 'payload', payload, 'readable', ARGV[first + 8],
    'submitted_at', at, 'pushed', '1')
  redis.call('ZADD', RECENT, kept.seq, id)
end

local function join(first, entry, kept, at)
  local id, seed = ARGV[first + 2], ARGV[first + 9]
  local status = redis.call('HGET', JOB .. id, 'status')
  if not status or status ~= 'waiting' and status ~= 'leased' then write(first, kept, at) end
  redis.call('HSET', JOB .. id, 'status', 'leased', 'entry', entry, 'fence', kept.fence,
    'pod', pod, 'tries', kept.tries, 'lane', kept.lane)
  redis.call('HSETNX', JOB .. id, 'seed', seed)
  redis.call('HSET', ENTRY .. entry, 'job', id)
  return {'ok', redis.call('HGETALL', JOB .. id)}
end

-- Bind an entry that is leased as `kept` says: ok and the job, or dropped, or moved.
local function bind(first, entry, kept, at, event)
  local lane = ARGV[first + 3]
  if lane ~= '' and lane ~= kept.lane then
    redis.call('ZREM', LEASES .. kept.lane, entry)
    redis.call('HSET', ENTRY .. entry, 'lane', lane, 'class', ARGV[first + 4],
      'user', ARGV[first + 6])
    give_back(entry, 0, true, at, event)
    return {'moved'}
  end
  if is_double(ARGV[first + 2], entry) then
    drop_entry(entry, kept.lane)
    return {'dropped'}
  end
  return join(first, entry, kept, at)
end


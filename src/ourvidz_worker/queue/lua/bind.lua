-- After the strict decoding: a claimed entry becomes its job's one live entry. ARGV[3] is the wall
-- clock, ARGV[4] the event of a cancelled job, then ten values for each entry. Answers for each
-- what became of it: ok and the job, or dropped, lost, moved.
local at, event, width = ARGV[3], ARGV[4], 10

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

local function write(first, kept)
  local id, user = ARGV[first + 2], ARGV[first + 6]
  local payload = ARGV[first + 7] ~= '' and string.sub(ARGV[first + 7], 2) or kept.raw
  redis.call('DEL', JOB .. id, EVENTS .. id)
  redis.call('HSET', JOB .. id, 'id', id, 'lane', ARGV[first + 3], 'class', ARGV[first + 4],
    'type', ARGV[first + 5], 'user_id', user, 'payload', payload, 'readable', ARGV[first + 8],
    'submitted_at', at, 'pushed', '1')
  redis.call('ZADD', RECENT, kept.seq, id)
end

local function join(first, entry, kept)
  local id, seed = ARGV[first + 2], ARGV[first + 9]
  local status = redis.call('HGET', JOB .. id, 'status')
  if not status or status ~= 'waiting' and status ~= 'leased' then write(first, kept) end
  redis.call('HSET', JOB .. id, 'status', 'leased', 'entry', entry, 'fence', kept.fence,
    'pod', pod, 'tries', kept.tries, 'lane', kept.lane)
  redis.call('HSETNX', JOB .. id, 'seed', seed)
  redis.call('HSET', ENTRY .. entry, 'job', id)
  return {'ok', redis.call('HGETALL', JOB .. id)}
end

local answers = {}
for first = 5, #ARGV, width do
  local entry, fence, id = ARGV[first], ARGV[first + 1], ARGV[first + 2]
  local found = redis.call('HMGET', ENTRY .. entry, 'fence', 'owner', 'state', 'lane', 'tries',
    'seq', 'raw', 'list')
  local kept = {fence = found[1], lane = found[4], tries = found[5], seq = found[6],
    raw = found[7], list = found[8]}
  local said
  if found[1] ~= fence or found[2] ~= pod or found[3] ~= 'leased' then
    said = {'lost'}
  elseif kept.lane ~= ARGV[first + 3] then
    redis.call('ZREM', LEASES .. kept.lane, entry)
    redis.call('HSET', ENTRY .. entry, 'lane', ARGV[first + 3], 'class', ARGV[first + 4],
      'user', ARGV[first + 6])
    give_back(entry, 0, true, at, event)
    said = {'moved'}
  elseif is_double(id, entry) then
    drop_entry(entry, kept.lane)
    said = {'dropped'}
  else
    said = join(first, entry, kept)
  end
  answers[#answers + 1] = said
end
return answers

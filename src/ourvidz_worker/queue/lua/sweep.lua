-- Give back lapsed leases, take over what dead pods owe, forget a little. Answers how many were
-- given back, what is owed now by the caller, and how long the reference mechanism's lists are.
local at, event = ARGV[3], ARGV[4]
local few = 100
redis.call('ZADD', PODS, now + POD_MS, pod)

local lapsed = {}
for _, lane in ipairs(LANES) do
  for _, entry in ipairs(redis.call('ZRANGEBYSCORE', LEASES .. lane, '-inf', now)) do
    if redis.call('HGET', ENTRY .. entry, 'raw') then
      lapsed[#lapsed + 1] = entry
    else
      redis.call('ZREM', LEASES .. lane, entry)
    end
  end
end

-- A lease that the server forgot, as after a fail-over, is written again and may lapse.
for _, id in ipairs(redis.call('ZREVRANGE', RECENT, 0, few - 1)) do
  local job = redis.call('HMGET', JOB .. id, 'status', 'entry', 'lane')
  if job[1] == 'leased' and redis.call('EXISTS', ENTRY .. job[2]) == 1 then
    redis.call('ZADD', LEASES .. job[3], 'NX', now + POD_MS, job[2])
  end
end
local count = #lapsed
local rows = give_back_all(lapsed, at, event)

local function adopt(dead)
  local ids = redis.call('SRANDMEMBER', DUE .. dead, few)
  for _, id in ipairs(ids) do
    redis.call('SMOVE', DUE .. dead, DUE .. pod, id)
    local job = redis.call('HMGET', JOB .. id, 'status', 'body', 'ended')
    if job[2] then
      redis.call('HSET', JOB .. id, 'teller', pod)
      rows[#rows + 1] = {id, job[1], job[2], job[3]}
    end
  end
  if #ids == 0 then redis.call('ZREM', PODS, dead) end
end

for _, dead in ipairs(redis.call('ZRANGEBYSCORE', PODS, '-inf', now, 'LIMIT', 0, 8)) do
  adopt(dead)
end
redis.call('ZREMRANGEBYRANK', RECENT, 0, -KEPT_JOBS - 1)
redis.call('ZREMRANGEBYRANK', SERVED, 0, -KEPT_USERS - 1)
local foreign = 0
for _, list in ipairs(LISTS) do
  foreign = foreign + redis.call('LLEN', list .. ':processing')
end
return {count, rows, foreign}

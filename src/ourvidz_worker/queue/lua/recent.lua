-- The newest jobs, of a status and a user where they are named, at most so many.
local status, user, most, page = ARGV[3], ARGV[4], tonumber(ARGV[5]), 200
local jobs = {}
local function add(id)
  local job = redis.call('HMGET', JOB .. id, 'status', 'user_id')
  if not job[1] then
    redis.call('ZREM', RECENT, id)
  elseif (status == '' or status == job[1]) and (user == '' or user == job[2]) then
    jobs[#jobs + 1] = redis.call('HGETALL', JOB .. id)
  end
end
for first = 0, redis.call('ZCARD', RECENT) - 1, page do
  for _, id in ipairs(redis.call('ZREVRANGE', RECENT, first, first + page - 1)) do
    if #jobs < most then add(id) end
  end
end
return jobs

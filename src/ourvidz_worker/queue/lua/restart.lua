-- A pod begins a new life: its former one is over, so that all it held goes back at once and the
-- delays it had set end. What is owed for cancelled jobs is returned.
local at, event = ARGV[3], ARGV[4]
redis.call('ZADD', PODS, now + POD_MS, pod)
redis.call('DEL', REPLAY .. pod)
local ours = {}
for _, lane in ipairs(LANES) do
  for _, entry in ipairs(redis.call('ZRANGE', LEASES .. lane, 0, -1)) do
    if redis.call('HGET', ENTRY .. entry, 'owner') == pod then ours[#ours + 1] = entry end
  end
end
local rows = give_back_all(ours, at, event)
for _, entry in ipairs(redis.call('ZRANGE', DELAYED, 0, -1)) do
  if redis.call('HGET', ENTRY .. entry, 'owner') == pod then
    redis.call('HSET', ENTRY .. entry, 'not_before', 0)
    redis.call('ZREM', DELAYED, entry)
  end
end
return rows

-- How long each list is, how much of its lane is leased, and how many delays are over.
local lengths, leased = {}, {}
for i, list in ipairs(LISTS) do
  lengths[i] = redis.call('LLEN', list)
  leased[i] = redis.call('ZCARD', LEASES .. LANE_OF[list])
end
return {lengths, leased, redis.call('ZCOUNT', DELAYED, '-inf', now)}

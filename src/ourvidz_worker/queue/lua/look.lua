-- How long each list is, how much of each lane waits and is leased, and how many delays are over.
-- What waits in a list is its own lane's, but for guests among the first elements.
local lengths, waiting, leased = {}, {}, {}
local counted = {}

local function guest(raw)
  local lane = redis.call('HGET', ENTRY .. redis.sha1hex(raw), 'lane')
  if not lane and names_guest(raw) then
    local row = row_of(sniff(raw))
    lane = row and row[1]
  end
  return lane and is_guest(lane) and lane or nil
end

for i, list in ipairs(LISTS) do
  local own = LANE_OF[list]
  lengths[i] = redis.call('LLEN', list)
  counted[own] = (counted[own] or 0) + lengths[i]
  for _, raw in ipairs(redis.call('LRANGE', list, 0, WINDOW - 1)) do
    local lane = guest(raw)
    if lane then
      counted[own] = counted[own] - 1
      counted[lane] = (counted[lane] or 0) + 1
    end
  end
end
for i, lane in ipairs(LANES) do
  waiting[i] = counted[lane] or 0
  leased[i] = redis.call('ZCARD', LEASES .. lane)
end
return {lengths, waiting, leased, redis.call('ZCOUNT', DELAYED, '-inf', now)}

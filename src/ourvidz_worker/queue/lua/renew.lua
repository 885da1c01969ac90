-- Prolong leases: pairs of job id and fence from ARGV[4] on; 1 or 0 for each.
local until_ms, kept = now + tonumber(ARGV[3]), {}
for i = 4, #ARGV, 2 do
  local entry, lane = held(ARGV[i], ARGV[i + 1])
  if entry then redis.call('ZADD', LEASES .. lane, until_ms, entry) end
  kept[#kept + 1] = entry and 1 or 0
end
return kept

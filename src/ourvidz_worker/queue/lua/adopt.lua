-- Take back elements that nobody leases in two scans far enough apart (Q-7): list, SHA-1 and name
-- of the foreign lease of each from ARGV[3] on. Answers how many.
local count = 0

local function find(list, entry)
  for _, raw in ipairs(redis.call('LRANGE', list .. ':processing', 0, 99)) do
    if redis.sha1hex(raw) == entry then return raw end
  end
end

local function take_back(list, entry, raw)
  redis.call('LREM', list .. ':processing', 1, raw)
  redis.call('LPUSH', list, raw)
  redis.call('HINCRBY', ENTRY .. entry, 'tries', 1)
  redis.call('EXPIRE', ENTRY .. entry, WAITING_S)
  redis.call('HDEL', SUSPECTS, entry)
  count = count + 1
end

for i = 3, #ARGV, 3 do
  local list, entry, lease = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  local since = tonumber(redis.call('HGET', SUSPECTS, entry) or now)
  local raw = find(list, entry)
  if not raw or redis.call('EXISTS', lease) == 1 then
    redis.call('HDEL', SUSPECTS, entry)
  elseif now - since >= ADOPT_AFTER_MS then
    take_back(list, entry, raw)
  else
    redis.call('HSET', SUSPECTS, entry, since)
  end
end
if redis.call('HLEN', SUSPECTS) > 1000 then redis.call('DEL', SUSPECTS) end
return count

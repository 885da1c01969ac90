-- Lease waiting elements: at most so many of each lane, in the order of the port, among the first
-- of each list. Asked again with the same nonce, the same leases are given again. ARGV[7] is the wall
-- clock, ARGV[8] the event of a cancelled job, then ten values for each element that the pod has seen
-- and decoded: if it is leased now, it is bound at once, and its lease ends with what became of it.
local nonce, ttl = ARGV[3], tonumber(ARGV[4])
local wanted, served = cjson.decode(ARGV[5]), cjson.decode(ARGV[6])

local function answer(leases, dropped)
  local lengths = {}
  for i, list in ipairs(LISTS) do lengths[i] = redis.call('LLEN', list) end
  return {leases, lengths, dropped}
end

local function lease_of(entry)
  local kept = redis.call('HMGET', ENTRY .. entry, 'raw', 'list', 'lane', 'tries', 'fence')
  return {entry, kept[1], kept[2], kept[3], tonumber(kept[4]), tonumber(kept[5])}
end

local function again(last)
  local leases = {}
  for _, pair in ipairs(last[2]) do
    local entry, fence = pair[1], tostring(pair[2])
    local kept = redis.call('HMGET', ENTRY .. entry, 'fence', 'owner', 'lane', 'state')
    if kept[1] == fence and kept[2] == pod and kept[4] == 'leased' then
      redis.call('ZADD', LEASES .. kept[3], now + ttl, entry)
      leases[#leases + 1] = lease_of(entry)
    end
  end
  return answer(leases, 0)
end

local last = redis.call('GET', REPLAY .. pod)
if last then
  last = cjson.decode(last)
  if last[1] == nonce then return again(last) end
end

local function describe(key, raw, list)
  local job = sniff(raw)
  local row = row_of(job)
  local lane, class = LANE_OF[list], 1
  if row then lane, class = row[1], row[2] end
  local user = text(job.user_id) or text(job.userId) or ''
  local seq = redis.call('INCR', SEQ)
  redis.call('HSET', key, 'lane', lane, 'class', class, 'user', user, 'seq', seq, 'list', list,
    'state', 'waiting')
  redis.call('EXPIRE', key, WAITING_S)
  return {lane, class, user, seq}
end

local dropped = 0
local items = {}

-- One element as a candidate, or nil: a twin of what is leased, or another host's work.
local function look(list, raw, place)
  local entry = redis.sha1hex(raw)
  local key = ENTRY .. entry
  local kept = redis.call('HMGET', key, 'lane', 'class', 'user', 'seq', 'state', 'returned',
    'not_before', 'tries')
  if kept[5] == 'leased' and redis.call('ZSCORE', LEASES .. kept[1], entry) then
    redis.call('LREM', list, 1, raw)
    dropped = dropped + 1
    return nil
  end
  local tries = tonumber(kept[8] or '') or 0 -- an adopted one was tried before it is described
  if not kept[1] then kept = describe(key, raw, list) end
  local lane = kept[1]
  if not served[lane] and LIST_OF[lane] ~= list then
    redis.call('LREM', list, 1, raw)
    redis.call('RPUSH', LIST_OF[lane], raw)
    redis.call('HSET', key, 'list', LIST_OF[lane])
    return nil
  end
  return {entry = entry, raw = raw, list = list, place = place, lane = lane,
    class = tonumber(kept[2]), user = kept[3], seq = kept[4], order = tonumber(kept[4]),
    tries = tries, returned = tonumber(kept[6] or '') or 0, ready = (tonumber(kept[7] or '') or 0) <= now}
end

local ready = {}

-- The elements of a list from one place on, as many as a window holds; or only guests among them.
local function read(list, first, only_guests)
  local seen, fresh = {}, {}
  for place, raw in ipairs(redis.call('LRANGE', list, first, first + WINDOW - 1)) do
    if only_guests and not names_guest(raw) then seen[raw] = true end
    local item = not seen[raw] and look(list, raw, first + place)
    seen[raw] = true
    if item then
      items[#items + 1] = item
      ready[item.lane] = ready[item.lane] or item.ready
      if item.returned == 0 then fresh[#fresh + 1] = item end
    end
  end
  -- First in, first out is told by the place in the list; numbers only compare lists.
  for i = #fresh - 1, 1, -1 do fresh[i].order = math.min(fresh[i].order, fresh[i + 1].order) end
end

for _, list in ipairs(LISTS) do read(list, 0) end

-- Others' elements at the head of its own list must not keep a lane waiting.
for _, each in ipairs(wanted) do
  local lane, list = each[1], LIST_OF[each[1]]
  local length = math.min(redis.call('LLEN', list), DEEP)
  for first = WINDOW, length - 1, WINDOW do
    if each[2] < 1 or ready[lane] then break end
    read(list, first, is_guest(lane))
  end
end

local function turn_of(item)
  if item.returned > 0 then return {0, item.returned, 0, 0} end
  local share = item.lane .. ' ' .. item.class .. ' ' .. item.user
  local fence = tonumber(redis.call('ZSCORE', SERVED, share) or 0)
  return {1, fence, item.order, item.place}
end

local function before(a, b)
  for i = 1, 4 do
    if a[i] ~= b[i] then return a[i] < b[i] end
  end
  return false
end

local function choose(lane)
  local class, oldest
  for _, item in ipairs(items) do
    if item.lane == lane and item.ready and not item.taken then
      if not class or item.class < class then class = item.class end
      if not oldest or before({item.order, item.place, 0, 0}, {oldest.order, oldest.place, 0, 0}) then
        oldest = item
      end
    end
  end
  local granted = tonumber(redis.call('HGET', GRANTED, lane) or 0)
  if oldest and granted % AGEING_LEASES == AGEING_LEASES - 1 then class = oldest.class end
  local best, best_turn
  for _, item in ipairs(items) do
    if item.lane == lane and item.ready and not item.taken and item.class == class then
      local turn = turn_of(item)
      if not best or before(turn, best_turn) then best, best_turn = item, turn end
    end
  end
  return best
end

local function take(item)
  local key = ENTRY .. item.entry
  local fence = redis.call('INCR', FENCE)
  item.taken = true
  redis.call('LREM', item.list, 1, item.raw)
  item.tries = item.tries + 1
  redis.call('HSET', key, 'state', 'leased', 'fence', fence, 'owner', pod, 'list', item.list,
    'raw', item.raw, 'tries', item.tries)
  redis.call('EXPIRE', key, WAITING_S)
  if item.returned > 0 then
    redis.call('HDEL', key, 'returned', 'not_before')
    redis.call('ZREM', DELAYED, item.entry)
  end
  redis.call('ZADD', LEASES .. item.lane, now + ttl, item.entry)
  redis.call('ZADD', SERVED, fence, item.lane .. ' ' .. item.class .. ' ' .. item.user)
  redis.call('HINCRBY', GRANTED, item.lane, 1)
  return fence
end

local known = {}
for first = 9, #ARGV, BINDING do known[ARGV[first]] = first end

local function lease(item, fence)
  local given = {item.entry, item.raw, item.list, item.lane, item.tries, fence}
  local first = known[item.entry]
  if first then
    local kept = {lane = item.lane, tries = item.tries, fence = fence, raw = item.raw,
      seq = item.seq}
    given[7] = bind(first, item.entry, kept, ARGV[7], ARGV[8])
  end
  return given
end

local leases, pairs_taken = {}, {}
for _, each in ipairs(wanted) do
  for _ = 1, each[2] do
    local item = choose(each[1])
    if not item then break end
    local fence = take(item)
    leases[#leases + 1] = lease(item, fence)
    pairs_taken[#pairs_taken + 1] = {item.entry, fence}
  end
end
redis.call('ZREMRANGEBYSCORE', DELAYED, '-inf', now)
if #leases > 0 then
  redis.call('SET', REPLAY .. pod, cjson.encode({nonce, pairs_taken}), 'PX', math.max(1000, 2 * ttl))
end
return answer(leases, dropped)

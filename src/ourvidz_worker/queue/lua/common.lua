-- What several scripts do; it stands before each of them. ARGV[1] is the time in ms where a test
-- owns it, else empty; ARGV[2] is the pod that calls. An optional text is '' for none, else '=text'.
local pod = ARGV[2]
local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

-- The entry and lane of a lease that is the caller's, or nil.
local function held(id, fence)
  local job = redis.call('HMGET', JOB .. id, 'status', 'fence', 'pod', 'entry', 'lane')
  if job[1] == 'leased' and job[2] == fence and job[3] == pod then
    return job[4], job[5]
  end
end

-- Nothing more is owed for this job.
local function close(id, status)
  redis.call('SET', DONE .. id, status, 'EX', DONE_S)
  redis.call('HSET', JOB .. id, 'done', '1')
  redis.call('HDEL', JOB .. id, 'body')
  redis.call('EXPIRE', JOB .. id, KEPT_S)
  redis.call('EXPIRE', EVENTS .. id, KEPT_S)
end

-- A job's final state; with a body it is due until that was told. `nonce` names this very end.
local function finish(id, status, at, nonce, body)
  redis.call('HSET', JOB .. id, 'status', status, 'settled_at', at, 'ended', nonce, 'teller', pod)
  redis.call('HDEL', JOB .. id, 'cancel_body')
  if body == '' then
    close(id, status)
  else
    redis.call('HSET', JOB .. id, 'body', string.sub(body, 2))
    redis.call('SADD', DUE .. pod, id)
  end
end

local function drop_entry(entry, lane)
  redis.call('ZREM', LEASES .. lane, entry)
  redis.call('ZREM', DELAYED, entry)
  redis.call('DEL', ENTRY .. entry)
end

local function add_event(id, event)
  local number = redis.call('HINCRBY', JOB .. id, 'events', 1)
  redis.call('RPUSH', EVENTS .. id, number .. ' ' .. event)
  redis.call('LTRIM', EVENTS .. id, -KEPT_EVENTS, -1)
  redis.call('EXPIRE', EVENTS .. id, WAITING_S)
  return number
end

local function add_letter(list, letter)
  redis.call('RPUSH', list .. ':dead', letter)
  redis.call('LTRIM', list .. ':dead', -KEPT_LETTERS, -1)
  redis.call('RPUSH', LETTERS, list)
  redis.call('LTRIM', LETTERS, -KEPT_LETTERS * #LISTS, -1)
end

-- A leased entry goes back to the left of its list. A job that was cancelled meanwhile ends
-- instead, since nobody else would end it; then what is owed for it is returned.
local function give_back(entry, not_before, unburnt, at, event)
  local key = ENTRY .. entry
  local kept = redis.call('HMGET', key, 'lane', 'list', 'fence', 'job', 'raw')
  local lane, list, fence, id, raw = kept[1], kept[2], kept[3], kept[4], kept[5]
  redis.call('ZREM', LEASES .. lane, entry)
  if unburnt then
    redis.call('HINCRBY', key, 'tries', -1)
    if id then redis.call('HINCRBY', JOB .. id, 'tries', -1) end
  end
  if id and redis.call('HGET', JOB .. id, 'cancel') then
    local body, nonce = redis.call('HGET', JOB .. id, 'cancel_body'), 'back:' .. fence
    drop_entry(entry, lane)
    add_event(id, event)
    finish(id, 'cancelled', at, nonce, body and ('=' .. body) or '')
    return body and {id, 'cancelled', body, nonce} or nil
  end
  redis.call('LPUSH', list, raw)
  redis.call('HSET', key, 'state', 'waiting', 'returned', fence, 'not_before', not_before)
  redis.call('EXPIRE', key, WAITING_S)
  if not_before > now then redis.call('ZADD', DELAYED, not_before, entry) end
  if id then redis.call('HSET', JOB .. id, 'status', 'waiting') end
end

-- Give back several entries so that the one leased first ends leftmost; what is owed, in order.
local function give_back_all(entries, at, event)
  local fences, rows = {}, {}
  for _, entry in ipairs(entries) do
    fences[entry] = tonumber(redis.call('HGET', ENTRY .. entry, 'fence'))
  end
  table.sort(entries, function(a, b) return fences[a] > fences[b] end)
  for _, entry in ipairs(entries) do
    local row = give_back(entry, 0, false, at, event)
    if row then table.insert(rows, 1, row) end
  end
  return rows
end

local deepest, longest = 8, 65536

local function text(value)
  return type(value) == 'string' and #value <= 128 and value or nil
end

-- The job object inside an element, as far as can be told here; the pod decides.
local function sniff(raw)
  if #raw > longest then return {} end
  local value = raw
  for _ = 1, deepest do
    if type(value) == 'string' then
      local good, inner = pcall(cjson.decode, value)
      if not good then return {} end
      value = inner
    elseif type(value) ~= 'table' then
      return {}
    elseif value[1] ~= nil and value[2] == nil then
      value = value[1]
    elseif value.id ~= nil or value.job_id ~= nil or value.jobId ~= nil or value.type ~= nil
        or value.job_type ~= nil or value.data == nil then
      return value
    else
      value = value.data
    end
  end
  return {}
end

-- The row of a job object's type, or nil.
local function row_of(job)
  local kind = text(job.type) or text(job.job_type) or ''
  return KINDS[kind] or KINDS[string.gsub(kind, '^wan_', '', 1)]
end

-- True for a lane whose jobs lie in another's list.
local function is_guest(lane)
  return LANE_OF[LIST_OF[lane]] ~= lane
end

-- True when an element may be a guest's: a cheap look before the whole one.
local function names_guest(raw)
  for kind in pairs(GUESTS) do
    if string.find(raw, kind, 1, true) then return true end
  end
  return false
end

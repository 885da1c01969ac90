-- A dead letter is worked anew. ARGV[3] is its SHA-1; its job, or '' for none; what it holds; and
-- for a job of our own interface the nonce of its new acceptance and its new element.
-- Answers the list it lies in now, or why not: unknown, busy, owed, gone.
local letter, id, raw, nonce, element, at = ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7], ARGV[8]

-- The list of the letter, its text, and how many newer ones lie there.
local function find()
  for _, list in ipairs(LISTS) do
    local kept = redis.call('LRANGE', list .. ':dead', 0, -1)
    for i = #kept, 1, -1 do
      if redis.sha1hex(kept[i]) == letter then return list, kept[i], #kept - i end
    end
  end
end

-- The letter leaves its list, and the order of all letters.
local function take_out(list, text, newer)
  redis.call('LREM', list .. ':dead', -1, text)
  local order = redis.call('LRANGE', LETTERS, 0, -1)
  for i = #order, 1, -1 do
    if order[i] == list then
      if newer == 0 then
        redis.call('LSET', LETTERS, i - 1, '')
        redis.call('LREM', LETTERS, 1, '')
        return
      end
      newer = newer - 1
    end
  end
end

local function accept(job)
  local lane, class, kind, user, payload = job[1], job[2], job[3], job[4], job[5]
  local list, entry, seq = LIST_OF[lane], redis.sha1hex(element), redis.call('INCR', SEQ)
  redis.call('RPUSH', list, element)
  redis.call('HSET', ENTRY .. entry, 'lane', lane, 'class', class, 'user', user, 'seq', seq,
    'list', list, 'state', 'waiting', 'raw', element)
  redis.call('EXPIRE', ENTRY .. entry, WAITING_S)
  redis.call('HSET', JOB .. id, 'id', id, 'type', kind, 'user_id', user, 'lane', lane,
    'class', class, 'payload', payload, 'submitted_at', at, 'accepted', nonce, 'entry', entry,
    'status', 'waiting', 'tries', 0)
  redis.call('ZADD', RECENT, seq, id)
  return list
end

local list, text, newer = find()
if not list then return 'unknown' end
local job = redis.call('HMGET', JOB .. id, 'lane', 'class', 'type', 'user_id', 'payload', 'status',
  'body')
if job[6] == 'waiting' or job[6] == 'leased' or job[6] == 'completed'
    or redis.call('GET', DONE .. id) == 'completed' then
  return 'busy'
end
if job[7] then return 'owed' end
if nonce ~= '' and not job[5] then return 'gone' end
take_out(list, text, newer)
if id ~= '' then
  redis.call('DEL', DONE .. id, JOB .. id, EVENTS .. id)
  redis.call('ZREM', RECENT, id)
end
if nonce ~= '' then return accept(job) end
redis.call('RPUSH', list, raw)
return list

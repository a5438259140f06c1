-- Stands before every script. Arguments: the prefix of all keys, a token of the call, then those of the script.
local prefix, token = ARGV[1], ARGV[2]
local leases, changed = prefix .. 'leases', prefix .. 'changed'

local function keys(id)
  return prefix .. 'run:' .. id, prefix .. 'entries:' .. id, prefix .. 'steps:' .. id
end

-- microseconds since the epoch: a double holds them exactly
local function now()
  local time = redis.call('TIME')
  return time[1] * 1000000 + time[2]
end

local function held(id, holder, number)
  local run = redis.call('HMGET', prefix .. 'run:' .. id, 'holder', 'number', 'done')
  return run[1] == holder and run[2] == number and run[3] == '0'
end

-- Note under labels (JSON) that a run or a value is kept until a time in milliseconds; false where one was purged.
local function label(labels, member, ends)
  local names = cjson.decode(labels)
  for _, name in ipairs(names) do
    if redis.call('EXISTS', prefix .. 'purged:' .. name) == 1 then
      return false
    end
  end
  for _, name in ipairs(names) do
    redis.call('ZREMRANGEBYSCORE', prefix .. 'label:' .. name, '-inf', math.floor(now() / 1000))
    redis.call('ZADD', prefix .. 'label:' .. name, ends, member)
  end
  return true
end

-- Take a run out of the lists of its labels.
local function unlabel(run, id)
  for _, name in ipairs(cjson.decode(redis.call('HGET', run, 'labels') or '[]')) do
    redis.call('ZREM', prefix .. 'label:' .. name, 'run:' .. id)
  end
end

-- A call whose reply was lost is made again with the same token, and answered what it was answered before.
local function once(work)
  local key = prefix .. 'once:' .. token
  local known = redis.call('GET', key)
  if known then
    return cmsgpack.unpack(known)
  end
  local answer = work()
  redis.call('SET', key, cmsgpack.pack(answer), 'PX', 20000)
  return answer
end

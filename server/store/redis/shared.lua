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

-- holder, lease in microseconds, how many at most; answers ids and numbers
return once(function()
  local time, claimed = now(), {}
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', leases, '-inf', time, 'LIMIT', 0, ARGV[5])) do
    local run = prefix .. 'run:' .. id
    if redis.call('HGET', run, 'done') == '0' then
      redis.call('HSET', run, 'holder', ARGV[3])
      redis.call('ZADD', leases, time + ARGV[4], id)
      table.insert(claimed, id)
      table.insert(claimed, redis.call('HINCRBY', run, 'number', 1))
    else
      redis.call('ZREM', leases, id)
    end
  end
  return claimed
end)

-- id
local run = prefix .. 'run:' .. ARGV[3]
if redis.call('HGET', run, 'done') == '0' then
  redis.call('HSET', run, 'cancelled', 1)
  redis.call('PUBLISH', changed, '')
end
return 1

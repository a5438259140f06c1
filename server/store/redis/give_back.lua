-- the time in microseconds when they were taken, then key, seconds and amount of each limit
return once(function()
  local time = now()
  for i = 4, #ARGV, 3 do
    local length = ARGV[i + 1] * 1000000
    local window = math.floor(time / length)
    if math.floor(ARGV[3] / length) == window then
      local slot = prefix .. 'count:' .. ARGV[i + 1] .. ':' .. window .. ':' .. ARGV[i]
      local used = math.max(0, (redis.call('GET', slot) or 0) - ARGV[i + 2])
      redis.call('SET', slot, used, 'PXAT', (window + 1) * ARGV[i + 1] * 1000)
    end
  end
  return 1
end)

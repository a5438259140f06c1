-- key, seconds, most and amount of each limit; answers whether they were granted, the time, what is used of each
return once(function()
  local time = now()
  local slots, ends, amounts, granted = {}, {}, {}, 1
  for i = 3, #ARGV, 4 do
    local length = ARGV[i + 1] * 1000000
    local window = math.floor(time / length)
    local slot = prefix .. 'count:' .. ARGV[i + 1] .. ':' .. window .. ':' .. ARGV[i]
    table.insert(slots, slot)
    ends[slot] = (window + 1) * ARGV[i + 1] * 1000
    amounts[slot] = (amounts[slot] or 0) + ARGV[i + 3]
  end
  for i, slot in ipairs(slots) do
    if (redis.call('GET', slot) or 0) + amounts[slot] > tonumber(ARGV[4 * i + 1]) then
      granted = 0
    end
  end
  if granted == 1 then
    for slot, amount in pairs(amounts) do
      redis.call('INCRBY', slot, amount)
      redis.call('PEXPIREAT', slot, ends[slot])
    end
  end
  local answer = {granted, time}
  for _, slot in ipairs(slots) do
    table.insert(answer, tonumber(redis.call('GET', slot) or 0))
  end
  return answer
end)

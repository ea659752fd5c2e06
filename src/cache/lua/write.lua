-- Writes and removes objects, each unless something newer is there, and publishes what changed.
-- KEYS: meta. ARGV: prefix, writer, stamp, '1' to pass over the stamps of objects; then of each object
-- kind, id, member and JSON: '' to remove it, '-' to take the member off its list and no more.
local meta, prefix, stamp, force = KEYS[1], ARGV[1], ARGV[3], ARGV[4] == '1'
local held = redis.pcall('HMGET', meta, 'writer', 'floor')
if held.err or held[1] ~= ARGV[2] then
  return {'lost'}
end
if held[2] and held[2] > stamp then
  return {'newer', held[2]}
end
redis.call('HSET', meta, 'floor', stamp)

local plain = string.gsub(stamp, '^0+(%d)', '%1')
local function publish(kind, id, removed)
  -- A key that somebody made up: nobody waits for it, and it need not be fit for JSON.
  if string.find(id, '[^%w%-]') then
    return
  end
  redis.call('PUBLISH', prefix .. 'changes', '{"kind":"' .. kind .. '","id":"' .. id .. '","revision":' .. plain
    .. ',"removed":' .. removed .. '}')
end

local lists = {}
local function list(kind)
  if not lists[kind] then
    local key = prefix .. kind .. 's'
    local type = redis.call('TYPE', key).ok
    if type ~= 'zset' and type ~= 'none' then
      redis.call('UNLINK', key)
    end
    lists[kind] = key
  end
  return lists[kind]
end

-- Keeps count, so that a list that somebody else took from does not pass for a whole one. A count that is
-- none is set right by the next mark.
local function unlist(kind, member)
  local gone = redis.call('ZREM', list(kind), member)
  redis.pcall('HINCRBY', meta, 'count:' .. kind, -gone)
  return gone
end

local function enlist(kind, member)
  local new = redis.call('ZADD', list(kind), 0, member)
  redis.pcall('HINCRBY', meta, 'count:' .. kind, new)
  return new
end

local changed, refused, top = 0, 0, ''
for i = 5, #ARGV, 4 do
  local kind, id, member, json = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
  local key = prefix .. kind .. ':' .. id
  if json == '-' then
    changed = changed + unlist(kind, member)
  else
    local old = redis.pcall('HMGET', key, 'revision', 'json', 'member', 'stamp')
    if old.err then
      redis.call('UNLINK', key)
      old = {false, false, false, false}
    end
    local known = old[4] and #old[4] == 20 and not string.find(old[4], '%D')
    if known and old[4] > stamp and not force then
      refused = refused + 1
      if old[4] > top then
        top = old[4]
      end
    else
      local touched = 0
      if old[3] and old[3] ~= member then
        touched = touched + unlist(kind, old[3])
      end
      if json == '' then
        touched = touched + redis.call('UNLINK', key) + unlist(kind, member)
        if touched > 0 then
          publish(kind, id, 'true')
        end
      else
        touched = touched + enlist(kind, member)
        if old[2] ~= json or old[3] ~= member or not known or force then
          redis.call('HSET', key, 'json', json, 'revision', plain, 'member', member, 'stamp', stamp)
          touched = touched + 1
        end
        if touched > 0 then
          publish(kind, id, 'false')
        end
      end
      if touched > 0 then
        changed = changed + 1
      end
    end
  end
end
return {'ok', changed, refused, top}

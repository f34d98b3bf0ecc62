"""What must happen in one step on the Redis server, in Lua. A script runs alone: nothing comes between its lines.

A session is two keys: its record, and a hash of its contents (`weights:<n>`, `revision:<n>`, `support`). Two, because the record
outlives the contents by a week, so that callers hear that it has expired.
"""

# KEYS: record, tombstone, contents. ARGV: the fields of the contents that are wanted.
# No MULTI: a full Redis refuses even to read in one.
READ = """
return {redis.call('GET', KEYS[1]), redis.call('GET', KEYS[2]), redis.call('HMGET', KEYS[3], unpack(ARGV))}
"""

# KEYS: record, contents, ids of the tenant, and the claim that is answered, if one is.
# ARGV: 1 id; 2 the record that must be there, or ''; 3 the new record; 4 and 5 milliseconds that record and contents live, 0 is for ever;
#       6 the revision that is no longer kept; 7 to 10 of the claim: fingerprint, until, milliseconds to live, body;
#       11 onwards fields of the contents and their values.
PUT = """
if ARGV[2] ~= '' and redis.call('GET', KEYS[1]) ~= ARGV[2] then
  return 0
end
redis.call('SET', KEYS[1], ARGV[3])
if #ARGV > 10 then
  redis.call('HDEL', KEYS[2], 'weights:' .. ARGV[6], 'revision:' .. ARGV[6])
  redis.call('HSET', KEYS[2], unpack(ARGV, 11))
end
if ARGV[4] == '0' then
  redis.call('PERSIST', KEYS[2])
else
  redis.call('PEXPIRE', KEYS[1], ARGV[4])
  redis.call('PEXPIRE', KEYS[2], ARGV[5])
end
redis.call('ZADD', KEYS[3], 0, ARGV[1])
if KEYS[4] then
  redis.call('HSET', KEYS[4], 'fingerprint', ARGV[7], 'until', ARGV[8], 'body', ARGV[10])
  redis.call('PEXPIRE', KEYS[4], ARGV[9])
end
-- Ids whose record Redis has cleaned away: a few are looked for at each write, so that at most half as many stay as live.
local stem = string.sub(KEYS[1], 1, -#ARGV[1] - 1)
for _, id in ipairs(redis.call('ZRANDMEMBER', KEYS[3], 3)) do
  if redis.call('EXISTS', stem .. id) == 0 then
    redis.call('ZREM', KEYS[3], id)
  end
end
return 1
"""

# KEYS: ids of the tenant; then record, contents and tombstone of each session.
# ARGV: the tombstone; milliseconds that it lives; the id of each session.
# The removal comes first: a full Redis refuses a script whose first write takes memory, and none that has begun.
END = """
local ended = 0
for place = 1, #ARGV - 2 do
  local record = KEYS[3 * place - 1]
  if redis.call('UNLINK', record) == 1 then
    redis.call('UNLINK', KEYS[3 * place])
    redis.call('ZREM', KEYS[1], ARGV[place + 2])
    redis.call('SET', KEYS[3 * place + 1], ARGV[1], 'PX', ARGV[2])
    ended = ended + 1
  end
end
return ended
"""

# KEYS: the claim. ARGV: fingerprint; now; until when it is held; milliseconds that it lives.
CLAIM = """
local held = redis.call('HMGET', KEYS[1], 'fingerprint', 'until', 'body')
if held[2] and tonumber(held[2]) > tonumber(ARGV[2]) then
  return {held[1], held[3]}
end
redis.call('HSET', KEYS[1], 'fingerprint', ARGV[1], 'until', ARGV[3])
redis.call('HDEL', KEYS[1], 'body')
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return false
"""

# KEYS: the claim. ARGV: fingerprint.
RELEASE = """
if redis.call('HGET', KEYS[1], 'fingerprint') == ARGV[1] and redis.call('HEXISTS', KEYS[1], 'body') == 0 then
  redis.call('DEL', KEYS[1])
end
"""

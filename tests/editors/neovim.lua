-- The end inside Neovim of tests/editors/neovim.py: it takes one JSON message a line, runs its Lua on the main loop and
-- answers with what that returns. A message with `poll` is asked again, every so many milliseconds, until it returns
-- something that is true. It knows nothing of harmony-ls.

local pipe = assert(vim.uv.new_pipe())
local received = ''

local function answer(id, ok, result)
  pipe:write(vim.json.encode({ id = id, ok = ok, result = result }) .. '\n')
end

local function run(message)
  local chunk, fault = loadstring(message.lua)
  if not chunk then return answer(message.id, false, fault) end
  local ok, result = pcall(chunk)
  if ok and message.poll and (result == nil or result == false) then
    return vim.defer_fn(function() run(message) end, message.poll)
  end
  answer(message.id, ok, ok and result or tostring(result))
end

pipe:connect(assert(os.getenv('HARMONY_TEST_SOCKET')), function(fault)
  assert(not fault, fault)
  pipe:read_start(function(_, data)
    received = received .. (data or '')
    for line in received:gmatch('([^\n]*)\n') do
      vim.schedule(function() run(vim.json.decode(line)) end)
    end
    received = received:match('[^\n]*$')
  end)
end)

-- What wrk sends: "post RUN FILE METHOD" posts orders, each with a body of its own; FILE and METHOD may be empty. With
-- a FILE of tokens, the Nth token belongs to the Nth user, and every fourth request is a second one of the user before.
-- METHOD is the payment method of all orders. "get FILE" reads the paths in FILE in turn. It prints one line of JSON
-- when done.
local REPEATED = 4
-- wrk keeps some of the first requests to itself, so the order that is looked for afterwards is a later one.
local SAMPLE = 10

local post, run, paths, tokens, payment
local sent = 0
local sender

local body = '{"userId":"user-%s-%08d","products":[{"productId":"product-%02d","quantity":2},' ..
             '{"productId":"product-%02d","quantity":1}],"totalAmount":200.00%s}'
local headers = { ["Content-Type"] = "application/json" }

local function lines(file)
  local read = {}
  for line in io.lines(file) do
    read[#read + 1] = line
  end
  return read
end

function setup(thread)
  sender = thread
end

function init(args)
  post = args[1] == "post"
  if post then
    run = args[2]
    tokens = args[3] ~= "" and lines(args[3])
    payment = args[4] ~= "" and (',"paymentMethod":"%s"'):format(args[4]) or ""
    sample = body:format(run, SAMPLE, SAMPLE, SAMPLE + 50, payment)
  else
    paths = lines(args[2])
  end
end

function request()
  sent = sent + 1
  if not post then
    return wrk.format("GET", paths[sent % #paths + 1])
  end
  local user = sent
  if tokens then
    user = (sent - (sent % REPEATED == 0 and 2 or 1)) % #tokens + 1
    headers["Authorization"] = "Bearer " .. tokens[user]
  end
  return wrk.format("POST", nil, headers, body:format(run, user, sent % 100, (sent + 50) % 100, payment))
end

function done(summary, latency)
  local errors = summary.errors
  print(string.format(
    '{"requests": %d, "seconds": %.6f, "p50": %.3f, "p99": %.3f, "refused": %d, "failed": %d, "body": %s}',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    errors.status, errors.connect + errors.read + errors.write + errors.timeout, sender:get("sample") or "null"))
end

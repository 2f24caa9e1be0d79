-- No two requests alike: path, query and one header change, so that no server profits from what it has seen before.
local number = 0

function request()
  number = number + 1
  wrk.headers["X-Request-Id"] = "req-" .. number * 7919
  return wrk.format("GET", "/items/" .. number .. "?page=" .. number % 97 .. "&q=word" .. number * 31)
end

"""asyncio's streams, both sides: many connections at once, each with lines of many sizes there and
back.    streams.py serve PORT | streams.py ask HOST PORT CONNECTIONS LINES"""

import asyncio
import random
import sys


async def echo(reader, writer):
    while line := await reader.readline():
        writer.write(line)
        await writer.drain()
    writer.close()


async def serve(port):
    async with await asyncio.start_server(echo, "0.0.0.0", port, limit=1 << 20) as server:
        await server.serve_forever()


async def ask(host, port, seed, lines):
    reader, writer = await asyncio.open_connection(host, port, limit=1 << 20)
    pick = random.Random(seed)
    right = 0
    for _ in range(lines):
        line = pick.randbytes(pick.choice((1, 100, 5000, 100000))).hex().encode() + b"\n"
        writer.write(line)
        right += await reader.readline() == line
    writer.write_eof()
    assert await reader.read() == b""
    writer.close()
    return right


async def ask_all(host, port, connections, lines):
    asked = (ask(host, port, seed, lines) for seed in range(connections))
    print("right:", sum(await asyncio.wait_for(asyncio.gather(*asked), 60)))


if sys.argv[1] == "serve":
    asyncio.run(serve(int(sys.argv[2])))
else:
    asyncio.run(ask_all(sys.argv[2], *map(int, sys.argv[3:])))

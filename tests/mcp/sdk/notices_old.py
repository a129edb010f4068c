"""The Python SDK 1.x against the gateway: it is told of progress and of other tools. What it saw is its last line, in JSON."""
import asyncio
import json
import sys

from mcp import ClientSession, types
from mcp.client.streamable_http import streamablehttp_client

URL, KEY = sys.argv[1:]


async def main():
    told, progress = asyncio.Queue(), []

    async def handle(message):
        if isinstance(message, types.ServerNotification) and isinstance(message.root, types.ToolListChangedNotification):
            await told.put(True)

    async def follow(done, total, message):
        progress.append([done, total, message])

    async with streamablehttp_client(URL, headers={"Authorization": "Bearer " + KEY}) as (read, write, _):
        async with ClientSession(read, write, message_handler=handle) as session:
            greeted = await session.initialize()
            tools = [tool.name for tool in (await session.list_tools()).tools]
            # The stream for what is said unasked is opened beside.
            await asyncio.sleep(1)
            print("ready", flush=True)
            await asyncio.to_thread(sys.stdin.readline)
            by_policy = await asyncio.wait_for(told.get(), 20)
            await session.call_tool("mcp.post.grow", {})
            by_server = await asyncio.wait_for(told.get(), 20)
            grown = [tool.name for tool in (await session.list_tools()).tools]
            slow = await session.call_tool("mcp.post.slow", {}, progress_callback=follow, meta={"tenure.dev/wait_ms": 3500})
    print(json.dumps({
        "protocol": greeted.protocolVersion, "announced": greeted.capabilities.tools.listChanged, "by_policy": by_policy,
        "by_server": by_server, "before": "mcp.post.grown" in tools, "after": "mcp.post.grown" in grown,
        "progress": progress, "slow": slow.structuredContent["status"]}))


asyncio.run(main())

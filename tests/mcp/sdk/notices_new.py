"""The Python SDK 2.x against the gateway: it is told of progress and of other tools. What it saw is its last line, in JSON."""
import asyncio
import json
import sys

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

URL, KEY = sys.argv[1:]


async def main():
    progress = []

    async def follow(done, total, message):
        progress.append([done, total, message])

    http = httpx2.AsyncClient(headers={"Authorization": "Bearer " + KEY}, timeout=60)
    async with http, Client(streamable_http_client(URL, http_client=http)) as client:
        tools = [tool.name for tool in (await client.list_tools()).tools]
        async with client.listen(tools_list_changed=True) as subscription:
            events = aiter(subscription)
            print("ready", flush=True)
            await asyncio.to_thread(sys.stdin.readline)
            by_policy = await asyncio.wait_for(anext(events), 20) is not None
            await client.call_tool("mcp.post.grow", {})
            by_server = await asyncio.wait_for(anext(events), 20) is not None
        grown = [tool.name for tool in (await client.list_tools()).tools]
        slow = await client.call_tool("mcp.post.slow", {}, progress_callback=follow, meta={"tenure.dev/wait_ms": 3500})
        protocol = client.protocol_version
    print(json.dumps({
        "protocol": protocol, "announced": True, "by_policy": by_policy, "by_server": by_server,
        "before": "mcp.post.grown" in tools, "after": "mcp.post.grown" in grown,
        "progress": progress, "slow": slow.structured_content["status"]}))


asyncio.run(main())

"""The Python SDK 1.x against the gateway: lists, calls, is refused, waits for a person. What it saw is its last line, in JSON."""
import asyncio
import json
import sys

from mcp import ClientSession
from mcp.client.streamable_http import streamablehttp_client

URL, KEY = sys.argv[1:]


def words(result):
    return result.content[0].text


async def main():
    headers = {"Authorization": "Bearer " + KEY}
    async with streamablehttp_client(URL, headers=headers) as (read, write, _):
        async with ClientSession(read, write) as session:
            greeted = await session.initialize()
            tools = [tool.name for tool in (await session.list_tools()).tools]
            echo = await session.call_tool("mcp.post.echo", {"text": "hello"})
            refused = await session.call_tool("mcp.next.add", {"a": 1, "b": 1})
            held = await session.call_tool("mcp.post.send", {"to": "a@example.com"})
            call = held.structuredContent["call"]
            print(held.structuredContent["approval"], flush=True)
            sys.stdin.readline()
            sent = await session.call_tool("tenure.call_result", {"call": call, "wait_ms": 20000})
            resources = len((await session.list_resources()).resources)
            prompt = await session.get_prompt("post.greet", {"who": "Ada"})
    print(json.dumps({
        "protocol": greeted.protocolVersion, "tools": tools, "echo": words(echo), "refused": refused.isError,
        "sent": words(sent), "resources": resources, "prompt": prompt.messages[0].content.text}))


asyncio.run(main())

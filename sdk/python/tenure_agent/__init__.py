"""A code agent of Tenure: a class whose methods are the lifecycle hooks, and calls that its host judges and records.

    from tenure_agent import Agent, Message

    class Greeter(Agent):
        def message(self, message: Message) -> str:
            return f"Hello, {message.input}"

    Greeter().run()

Hooks are asked one after another, health alone beside them. `print` is the agent's log: stdout belongs to the protocol.
"""
from __future__ import annotations

import json
import os
import queue
import sys
import threading
import traceback
from dataclasses import dataclass, field
from typing import Any, Callable, Dict, Optional, Set, Tuple

Json = Any
UNKNOWN_METHOD = -32601
FAILED = -32000
OPTIONAL = ("health", "upgrade", "save", "restore", "error")


class Refused(Exception):
    """The host did not do what was asked: a policy, a limit, or a wrong argument. `problem` is its answer, whole."""

    def __init__(self, message: str, code: int, problem: Json) -> None:
        super().__init__(message)
        self.code = code
        self.problem = problem


class Cancelled(Exception):
    """Nobody waits any more for the hook that is at work."""


@dataclass
class Message:
    """What the agent is asked to do. The same `id` may come again: the program was lost, and it is the same message.

    `input` is what the execution was given, None where a schedule started it; `prompt` what the manifest's template makes of it.
    """

    id: str
    input: Json
    attempt: int = 1
    prompt: str = ""
    _cancelled: threading.Event = field(default_factory=threading.Event, repr=False)
    _ordinal: int = field(default=0, repr=False)

    @property
    def cancelled(self) -> bool:
        """Nobody waits for the answer any more; work that takes long looks here."""
        return self._cancelled.is_set()


class Store:
    """Values by key: what the agent keeps (`state`), or its memory by the manifest's kind (`memory`)."""

    def __init__(self, call: Callable[[str, Dict[str, Json]], Json], group: str) -> None:
        self._call, self._group = call, group

    def get(self, key: str, **more: Json) -> Json:
        """The value, as it was kept."""
        return _result(self._call(f"{self._group}.get", {"key": key, **more}))

    def set(self, key: str, value: Json, **more: Json) -> Json:
        return _result(self._call(f"{self._group}.set", {"key": key, "value": value, **more}))

    def delete(self, key: str, **more: Json) -> Json:
        return _result(self._call(f"{self._group}.delete", {"key": key, **more}))

    def list(self, **more: Json) -> Json:
        return _result(self._call(f"{self._group}.list", more))


class Comms:
    """Messages to other agents, as the capabilities of the same names."""

    def __init__(self, invoke: Callable[[str, Dict[str, Json]], Json]) -> None:
        self._invoke = invoke

    def send(self, to: str, message: Json, **more: Json) -> Json:
        return self._invoke("comms.send", {"to": to, "message": message, **more})

    def publish(self, channel: str, message: Json, **more: Json) -> Json:
        return self._invoke("comms.publish", {"channel": channel, "message": message, **more})

    def receive(self, **more: Json) -> Json:
        return self._invoke("comms.receive", more)

    def reply(self, id: str, message: Json) -> Json:
        return self._invoke("comms.reply", {"id": id, "message": message})


class Agent:
    """Override the hooks that the agent has; call `run` once."""

    def __init__(self) -> None:
        self.hello: Dict[str, Json] = {}
        self.state = Store(self.call, "state")
        self.memory = Store(self.call, "memory")
        self.comms = Comms(self.invoke)
        self._lines: Optional[Any] = None
        self._writing = threading.Lock()
        self._answers: Dict[int, "queue.SimpleQueue[Dict[str, Json]]"] = {}
        self._last = 0
        self._current: Optional[Tuple[Json, threading.Event, Optional[Message]]] = None
        self._aside = threading.local()
        self._taken_back: Set[int] = set()
        self._gone = threading.Event()

    # Hooks. What one returns is its answer; what one raises is its error.
    def init(self, hello: Dict[str, Json]) -> Json:
        """Who it is: `agent`, `version`, `instance`, `provides`, `deadlines`; also in `self.hello`."""

    def start(self) -> Json:
        """Messages follow."""

    def message(self, message: Message) -> Json:
        raise NotImplementedError("this agent takes no messages: override `message`")

    def health(self) -> Dict[str, Json]:
        """`status` is healthy, warning or critical. Asked also while a message is handled, in a thread of its own."""
        raise NotImplementedError

    def upgrade(self, from_version: str) -> Json:
        raise NotImplementedError

    def save(self) -> Json:
        """All that a successor needs; it is given to its `restore`."""
        raise NotImplementedError

    def restore(self, state: Json) -> Json:
        raise NotImplementedError

    def error(self, error: Dict[str, Json], message: Optional[str]) -> Json:
        raise NotImplementedError

    def shutdown(self, why: str) -> Json:
        """The program ends once this returns."""

    # Calls. Each is judged, recorded, and done once for each message, however often that is delivered.
    def invoke(self, capability: str, arguments: Optional[Dict[str, Json]] = None) -> Json:
        """One call of a capability, and its result."""
        return _result(self.call("capability.invoke", {"capability": capability, "arguments": arguments or {}}))

    def generate(self, prompt: Optional[str] = None, **more: Json) -> Json:
        """Asks the agent's model."""
        return self.call("model.generate", {**({} if prompt is None else {"prompt": prompt}), **more})

    def log(self, text: str, level: str = "info") -> None:
        self._say({"method": "log", "params": {"level": level, "text": text}})

    def call(self, method: str, params: Dict[str, Json]) -> Json:
        """One request of the host, and its answer whole; what the methods above are made of."""
        current = None if getattr(self._aside, "is_health", False) else self._current
        cancelled = current[1] if current else threading.Event()
        answered: "queue.SimpleQueue[Dict[str, Json]]" = queue.SimpleQueue()
        with self._writing:
            self._last += 1
            id = self._last
            self._answers[id] = answered
            message = current[2] if current else None
            if message is not None:
                message._ordinal += 1
                params = {**params, "message": message.id, "ordinal": message._ordinal}
        try:
            self._say({"id": id, "method": method, "params": params})
            while True:
                if cancelled.is_set() or self._gone.is_set():
                    raise Cancelled("nobody waits for this any more")
                try:
                    answer = answered.get(timeout=0.2)
                    break
                except queue.Empty:
                    continue
        finally:
            with self._writing:
                self._answers.pop(id, None)
        if "error" in answer and answer["error"] is not None:
            error = answer["error"]
            raise Refused(error.get("message", ""), error.get("code", 0), error.get("data"))
        return answer.get("result")

    def run(self) -> None:
        """Serves the host until it says `shutdown` or is gone."""
        sys.stdout.flush()
        self._lines = os.fdopen(os.dup(1), "w", encoding="utf-8", newline="\n")
        os.dup2(2, 1)
        sys.stdout = sys.stderr
        hooks: "queue.SimpleQueue[Optional[Dict[str, Json]]]" = queue.SimpleQueue()
        threading.Thread(target=self._read, args=(hooks,), daemon=True).start()
        while True:
            request = hooks.get()
            if request is None:
                return
            if request["id"] in self._taken_back:
                self._taken_back = {id for id in self._taken_back if id > request["id"]}
                continue
            self._serve(request)
            if request["method"] == "shutdown":
                return

    def _read(self, hooks: "queue.SimpleQueue[Optional[Dict[str, Json]]]") -> None:
        for line in sys.stdin:
            message = json.loads(line)
            method = message.get("method")
            if method is None:
                with self._writing:
                    waiting = self._answers.get(message.get("id"))
                if waiting is not None:
                    waiting.put(message)
            elif method == "cancel":
                current, id = self._current, message["params"]["id"]
                if current and current[0] == id:
                    current[1].set()
                else:
                    self._taken_back.add(id)
            elif method == "health":
                threading.Thread(target=self._serve_aside, args=(message,), daemon=True).start()
            elif "id" in message:
                hooks.put(message)
        self._gone.set()
        hooks.put(None)

    def _serve_aside(self, request: Dict[str, Json]) -> None:
        self._aside.is_health = True
        self._serve(request)

    def _serve(self, request: Dict[str, Json]) -> None:
        id, method = request["id"], request["method"]
        try:
            self._say({"id": id, "result": self._answer(id, method, request.get("params") or {})})
        except _Absent:
            self._say({"id": id, "error": {"code": UNKNOWN_METHOD, "message": f"this agent has no hook `{method}`"}})
        except Exception as error:
            traceback.print_exc(file=sys.stderr)
            data = {"type": type(error).__name__}
            self._say({"id": id, "error": {"code": FAILED, "message": str(error) or type(error).__name__, "data": data}})

    def _answer(self, id: Json, method: str, params: Dict[str, Json]) -> Json:
        if method in OPTIONAL and getattr(type(self), method) is getattr(Agent, method):
            raise _Absent
        if method == "health":
            return self.health()
        message = Message(params["id"], params["input"], params.get("attempt", 1), params.get("prompt", "")) if method == "message" else None
        self._current = (id, message._cancelled if message else threading.Event(), message)
        try:
            if message is not None:
                return self.message(message)
            if method == "init":
                self.hello = params
                return self.init(params)
            if method == "start":
                return self.start()
            if method == "upgrade":
                return self.upgrade(params["from"])
            if method == "save":
                return self.save()
            if method == "restore":
                return self.restore(params["state"])
            if method == "error":
                return self.error(params["error"], params.get("message"))
            if method == "shutdown":
                return self.shutdown(params.get("why", ""))
            raise _Absent
        finally:
            self._current = None

    def _say(self, message: Dict[str, Json]) -> None:
        line = json.dumps({"jsonrpc": "2.0", **message}, ensure_ascii=False)
        if self._lines is None:
            raise RuntimeError("nobody listens yet: call `run` first")
        with self._writing:
            self._lines.write(line + "\n")
            self._lines.flush()


def _result(answer: Json) -> Json:
    """Of a call: what came of it, without what stands beside it."""
    return answer.get("result") if isinstance(answer, dict) and "call" in answer else answer


class _Absent(Exception):
    """The agent has no such hook."""

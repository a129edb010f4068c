"""A keeper of notes: what it is told to remember it keeps in its state, and it reads files where a policy lets it."""
from __future__ import annotations

import sys

from tenure_agent import Agent, Cancelled, Message, Refused


class Keeper(Agent):
    def __init__(self) -> None:
        super().__init__()
        self.handled = 0

    def init(self, hello):
        self.log(f"{hello['agent']} {hello['version']} is there")

    def message(self, message: Message):
        word, _, rest = str(message.input or "").partition(" ")
        print("asked to", word)
        try:
            answer = self.answer(word, rest)
        except Refused as refused:
            answer = f"I may not: {refused}"
        except Cancelled:
            print("stopped", word, file=sys.stderr)
            raise
        self.handled += 1
        return answer

    def answer(self, word: str, rest: str):
        if word == "remember":
            key, _, value = rest.partition(" ")
            self.state.set(key, value)
            self.comms.publish("notes", {"kept": key})
            return f"{key} is kept"
        if word == "recall":
            return self.state.get(rest)
        if word == "read":
            return self.invoke("filesystem.read", {"path": rest})["content"]
        raise ValueError("say `remember KEY VALUE`, `recall KEY` or `read FILE`")

    def health(self):
        return {"status": "healthy", "errors": [], "handled": self.handled}

    def save(self):
        return {"handled": self.handled}

    def restore(self, state):
        self.handled = state["handled"]

    def shutdown(self, why: str):
        print("bye:", why)


if __name__ == "__main__":
    Keeper().run()

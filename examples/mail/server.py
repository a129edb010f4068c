"""A mail server for agents: MCP over HTTP in front of a mailbox, with nothing but Python.

It reads by IMAP and sends by SMTP. It holds no login: each request brings one, as a basic authorization, and is made with it.
The agent's programs do not know it: Tenure puts it into the request outside their sandbox.

    python3 server.py --imap imap.example.com:993 --smtp smtp.example.com:587 --port 8025

`--plain` speaks to both without TLS, for mail servers on this very host.
"""
import argparse
import base64
import email
import email.policy
import email.utils
import imaplib
import json
import smtplib
import ssl
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

VERSIONS = ["2025-11-25", "2025-06-18", "2025-03-26"]
BODY_BYTES_MAX = 1 << 20
TEXT_CHARS_MAX = 20_000
TIMEOUT_SECONDS = 20

text = {"type": "string"}
ID = {"type": "string", "pattern": "^[0-9]{1,10}$", "description": "As list_messages gives it."}


def tool(name, description, properties, reads):
    schema = {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}
    return {"name": name, "description": description, "inputSchema": schema, "annotations": {"readOnlyHint": reads}}


TOOLS = [
    tool("list_messages", "List the mails of the inbox that were not answered, the newest first.", {}, True),
    tool("read_message", "Read one mail: who wrote it, when, and its text.", {"id": ID}, True),
    tool("reply", "Answer a mail. The answer goes to whoever wrote it, and to nobody else.",
         {"id": ID, "body": {**text, "maxLength": TEXT_CHARS_MAX}}, False),
]


class Refused(Exception):
    """The request cannot be done as it was asked."""


class Mailbox:
    """One login, for one request."""

    def __init__(self, place, user, password):
        self.place, self.user, self.password = place, user, password

    def __enter__(self):
        host, port = self.place.imap
        if self.place.plain:
            self.imap = imaplib.IMAP4(host, port, timeout=TIMEOUT_SECONDS)
        else:
            self.imap = imaplib.IMAP4_SSL(host, port, ssl_context=ssl.create_default_context(), timeout=TIMEOUT_SECONDS)
        self.imap.login(self.user, self.password)
        self.imap.select("INBOX")
        return self

    def __exit__(self, *_):
        try:
            self.imap.logout()
        except (OSError, imaplib.IMAP4.error):
            pass

    def fetch(self, uid, what):
        _, answer = self.imap.uid("FETCH", uid, what)
        parts = [part for part in answer if isinstance(part, tuple)]
        if not parts:
            raise Refused(f"there is no mail {uid} in the inbox; list_messages names those that are")
        return email.message_from_bytes(parts[0][1], policy=email.policy.default)

    def list_messages(self):
        _, found = self.imap.uid("SEARCH", "UNANSWERED")
        uids = [uid.decode() for uid in (found[0] or b"").split()]
        mails = []
        for uid in reversed(uids[-20:]):
            head = self.fetch(uid, "(BODY.PEEK[HEADER])")
            mails.append({"id": uid, "from": str(head["From"]), "subject": str(head["Subject"]), "date": str(head["Date"])})
        return {"mails": mails, "not_shown": max(0, len(uids) - 20)}

    def read_message(self, id):
        mail = self.fetch(id, "(BODY.PEEK[])")
        body = mail.get_body(preferencelist=("plain", "html"))
        words = body.get_content() if body else ""
        return {"id": id, "from": str(mail["From"]), "subject": str(mail["Subject"]), "date": str(mail["Date"]),
                "text": words[:TEXT_CHARS_MAX], "cut": len(words) > TEXT_CHARS_MAX}

    def reply(self, id, body):
        mail = self.fetch(id, "(BODY.PEEK[HEADER])")
        _, to = email.utils.parseaddr(str(mail["Reply-To"] or mail["From"]))
        if not to:
            raise Refused("the mail does not say who wrote it")
        subject = str(mail["Subject"] or "")
        answer = EmailMessage()
        answer["From"], answer["To"] = self.user, to
        answer["Subject"] = subject if subject.lower().startswith("re:") else "Re: " + subject
        answer["Date"], answer["Message-ID"] = email.utils.formatdate(), email.utils.make_msgid()
        if mail["Message-ID"]:
            answer["In-Reply-To"] = answer["References"] = str(mail["Message-ID"])
        answer.set_content(body)
        self.send(answer)
        self.imap.uid("STORE", id, "+FLAGS", "(\\Answered)")
        return {"sent": True, "to": to, "subject": answer["Subject"]}

    def send(self, mail):
        host, port = self.place.smtp
        with smtplib.SMTP(host, port, timeout=TIMEOUT_SECONDS) as smtp:
            if not self.place.plain:
                smtp.starttls(context=ssl.create_default_context())
            smtp.login(self.user, self.password)
            smtp.send_message(mail)


def answer(method, params, mailbox):
    if method == "initialize":
        wanted = params.get("protocolVersion")
        return {"protocolVersion": wanted if wanted in VERSIONS else VERSIONS[0], "capabilities": {"tools": {}},
                "serverInfo": {"name": "mail", "version": "1.0.0"}}
    if method == "ping":
        return {}
    if method == "tools/list":
        return {"tools": TOOLS}
    if method == "tools/call":
        name, given = params.get("name"), params.get("arguments") or {}
        known = next((tool for tool in TOOLS if tool["name"] == name), None)
        if known is None or set(given) != set(known["inputSchema"]["required"]):
            raise Refused(f"there is no such tool, or it takes other arguments: {name}")
        if not all(isinstance(value, str) for value in given.values()):
            raise Refused("each argument is a text")
        result = getattr(mailbox, name)(**given)
        return {"content": [{"type": "text", "text": json.dumps(result, ensure_ascii=False)}]}
    return None


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 60
    place = None

    def do_POST(self):
        length = int(self.headers.get("Content-Length") or 0)
        if length > BODY_BYTES_MAX:
            return self.say(413, {"error": f"a message has at most {BODY_BYTES_MAX} bytes"}, close=True)
        body = self.rfile.read(length)
        # A page of the web in somebody's browser is no client.
        if self.headers.get("Origin"):
            return self.say(403, {"error": "requests of web pages are not taken"})
        login = self.login()
        if login is None:
            return self.say(401, {"error": "there is no basic authorization"})
        try:
            message = json.loads(body)
            method, number, params = message["method"], message.get("id"), message.get("params") or {}
        except (ValueError, KeyError, TypeError):
            return self.say(400, {"jsonrpc": "2.0", "id": None, "error": {"code": -32700, "message": "no message"}})
        if number is None:
            return self.say(202, None)
        reply = {"jsonrpc": "2.0", "id": number}
        try:
            with Mailbox(self.place, *login) as mailbox:
                reply["result"] = answer(method, params, mailbox)
            if reply["result"] is None:
                del reply["result"]
                reply["error"] = {"code": -32601, "message": f"there is no method {method}"}
        except imaplib.IMAP4.error:
            return self.say(401, {"error": "the mail server does not take this login"})
        except (Refused, OSError, smtplib.SMTPException) as failed:
            reply["result"] = {"content": [{"type": "text", "text": str(failed)}], "isError": True}
        return self.say(200, reply)

    def login(self):
        kind, _, pair = (self.headers.get("Authorization") or "").partition(" ")
        try:
            user, colon, password = base64.b64decode(pair, validate=True).decode().partition(":")
        except ValueError:
            return None
        return (user, password) if kind.lower() == "basic" and colon else None

    def say(self, status, message, close=False):
        body = b"" if message is None else json.dumps(message).encode()
        self.send_response(status)
        if status == 401:
            self.send_header("WWW-Authenticate", 'Basic realm="mail"')
        if close:
            self.send_header("Connection", "close")
            self.close_connection = True
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def place(words):
    host, _, port = words.rpartition(":")
    return host, int(port)


def main():
    parser = argparse.ArgumentParser(description="MCP in front of a mailbox")
    parser.add_argument("--imap", type=place, required=True, metavar="HOST:PORT")
    parser.add_argument("--smtp", type=place, required=True, metavar="HOST:PORT")
    parser.add_argument("--port", type=int, default=8025, help="on 127.0.0.1; 0 takes a free one and prints it")
    parser.add_argument("--plain", action="store_true", help="no TLS to the mail servers, which are on this very host")
    wanted = parser.parse_args()
    if wanted.plain and any(host not in ("127.0.0.1", "localhost", "[::1]") for host, _ in (wanted.imap, wanted.smtp)):
        parser.error("--plain sends the password in clear: only to 127.0.0.1")
    Handler.place = wanted
    server = ThreadingHTTPServer(("127.0.0.1", wanted.port), Handler)
    print(server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()

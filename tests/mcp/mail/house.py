"""A mail house for the test: an IMAP server (pymap) with one invoice in it, and an SMTP server (aiosmtpd) that wants a login. Both
on loopback. It prints their ports, and each mail that it is given, one JSON a line."""
import contextlib
import imaplib
import json
import socket
import sys
import threading
import time

import pymap.main
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult

USER, PASSWORD, INVOICE = sys.argv[1], sys.argv[2], sys.argv[3]
LOCK = threading.Lock()


def say(value):
    with LOCK:
        print(json.dumps(value), flush=True)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Taken:
    async def handle_DATA(self, server, session, envelope):
        say({"to": envelope.rcpt_tos, "by": session.auth_data.login.decode(), "mail": envelope.content.decode()})
        return "250 taken"


def authenticated(server, session, envelope, mechanism, given):
    good = (given.login, given.password) == (USER.encode(), PASSWORD.encode())
    return AuthResult(success=good, auth_data=given)


def imap(port):
    sys.argv = ["pymap", "--host", "127.0.0.1", "--port", str(port), "--no-tls", "--no-service", "admin",
                "dict", "--demo-user", USER, "--demo-password", PASSWORD]
    pymap.main.main()


smtp_port, imap_port = free_port(), free_port()
Controller(Taken(), hostname="127.0.0.1", port=smtp_port, authenticator=authenticated, auth_required=True,
           auth_require_tls=False).start()


def fill():
    for _ in range(200):
        with contextlib.suppress(OSError, imaplib.IMAP4.error):
            box = imaplib.IMAP4("127.0.0.1", imap_port)
            box.login(USER, PASSWORD)
            box.append("INBOX", None, None, INVOICE.encode())
            box.logout()
            say({"imap": imap_port, "smtp": smtp_port})
            return
        time.sleep(0.05)
    say({"failed": "the IMAP server does not answer"})


threading.Thread(target=fill, daemon=True).start()
imap(imap_port)

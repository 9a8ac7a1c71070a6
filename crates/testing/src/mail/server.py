"""A mail server that says on standard output what it gets: one JSON object a mail.

Arguments: plain, starttls or tls; a certificate and a key for the last two.
"""
import email
import email.policy
import json
import socket
import ssl
import sys

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword


def say(value):
    print(json.dumps(value), flush=True)


class Handler:
    async def handle_DATA(self, server, session, envelope):
        mail = email.message_from_bytes(envelope.content, policy=email.policy.default)
        say({
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "headers": dict(mail.items()),
            "text": mail.get_content(),
            "tls": server.transport.get_extra_info("ssl_object") is not None,
            "user": session.auth_data.login.decode() if session.auth_data else None,
        })
        return "250 taken"


def check(server, session, envelope, mechanism, given):
    good = isinstance(given, LoginPassword) and given.password == b"secret word"
    return AuthResult(success=good, auth_data=given)


mode = sys.argv[1]
context = None
if mode != "plain":
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(sys.argv[2], sys.argv[3])
with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
controller = Controller(
    Handler(),
    hostname="127.0.0.1",
    port=port,
    ssl_context=context if mode == "tls" else None,
    tls_context=context if mode == "starttls" else None,
    require_starttls=mode == "starttls",
    authenticator=check,
    auth_require_tls=False,
)
controller.start()
say(port)
sys.stdin.read()
controller.stop()

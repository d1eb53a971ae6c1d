"""Issuers and a TLS server for .ci/kinds: Authlib's OAuth 2 server, a login service, and OpenSSL that demands certificates.

The OAuth 2 server knows one client by its secret and one by its key; the service account is the latter. What it answers can
be changed, and it can go away and come back at the same port.
"""

import datetime
import json
import logging
import secrets
import ssl
import threading
import warnings
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from authlib.integrations.flask_oauth2 import AuthorizationServer
from authlib.oauth2.rfc6749 import ClientMixin, grants
from authlib.oauth2.rfc7523 import JWTBearerClientAssertion, JWTBearerGrant
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from flask import Flask, Response, request
from joserfc.jwk import ECKey
from werkzeug.serving import make_server

# It would write a line for each request.
logging.getLogger("werkzeug").setLevel(logging.ERROR)
warnings.simplefilter("ignore")

JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"


def pem(key):
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return key.private_bytes(*form).decode()


class Client(ClientMixin):
    def __init__(self, name, secret, methods):
        self.name, self.secret, self.methods = name, secret, methods

    def get_client_id(self):
        return self.name

    def get_allowed_scope(self, scope):
        return scope or ""

    def check_client_secret(self, secret):
        return secrets.compare_digest(secret, self.secret)

    def check_endpoint_auth_method(self, method, endpoint):
        return method in self.methods

    def check_grant_type(self, kind):
        return kind in ("client_credentials", JWT_BEARER)


class Issuer:
    """Gives tokens that only it knows. `given` has them all."""

    def __init__(self, secret):
        self.given, self.asked, self.instead, self.used = set(), 0, None, set()
        self.key = ec.generate_private_key(ec.SECP256R1())
        public = ECKey.import_key(self.key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo))
        basic = Client("edge", secret, ("client_secret_basic", "client_secret_post"))
        robot = Client("robot", "", ("client_assertion_jwt",))
        clients, outer = {client.name: client for client in (basic, robot)}, self
        app = Flask("issuer")
        server = AuthorizationServer(app, query_client=clients.get, save_token=lambda token, _: self.given.add(token["access_token"]))

        class Assertion(JWTBearerClientAssertion):
            def get_audiences(self):
                return [outer.url()]

            def validate_jti(self, claims, jti):
                known = jti in outer.used
                outer.used.add(jti)
                return not known

            def resolve_client_public_key(self, client):
                return public

        class ClientCredentials(grants.ClientCredentialsGrant):
            TOKEN_ENDPOINT_AUTH_METHODS = ["client_secret_basic", "client_secret_post", "client_assertion_jwt"]

        class Robot(JWTBearerGrant):
            def get_audiences(self):
                return [outer.url()]

            def resolve_issuer_client(self, name):
                return clients.get(name)

            def resolve_client_public_key(self, client):
                return public

        server.register_grant(ClientCredentials)
        server.register_grant(Robot)
        server.register_client_auth_method("client_assertion_jwt", Assertion())

        @app.route("/token", methods=["POST"])
        def token():
            self.asked += 1
            if self.instead:
                return self.instead()
            return server.create_token_response()

        @app.route("/login", methods=["POST"])
        def login():
            self.asked += 1
            if request.get_json().get("password") != secret:
                return Response("{}", 403)
            given = secrets.token_urlsafe(32)
            self.given.add(given)
            return {"data": {"session": {"token": given, "seconds": 600}}}

        self.app, self.port, self.server = app, 0, None
        self.comes()

    def url(self, path="/token"):
        return f"http://127.0.0.1:{self.port}{path}"

    def comes(self):
        self.server = make_server("127.0.0.1", self.port, self.app, threaded=True)
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def goes(self):
        self.server.shutdown()
        self.server.server_close()


# What an issuer answers that gives no token.
WRONG = {
    "no JSON": lambda: Response("<html>", 200),
    "no token": lambda: Response('{"token_type": "Bearer"}', 200),
    "another type": lambda: Response('{"access_token": "a", "token_type": "mac"}', 200),
    "a life of nothing": lambda: Response('{"access_token": "a", "expires_in": 0}', 200),
    "1 MiB": lambda: Response('{"access_token": "' + "a" * 2**20 + '"}', 200),
    "a redirect": lambda: Response("", 307, {"location": "http://127.0.0.1:1/"}),
    "an error": lambda: Response('{"error": "temporarily_unavailable"}', 503),
}


def certificate(name, key, issuer=None, issuer_key=None):
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.timezone.utc)
    builder = x509.CertificateBuilder().subject_name(subject).public_key(key.public_key())
    builder = builder.issuer_name(issuer.subject if issuer else subject).serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now - datetime.timedelta(hours=1)).not_valid_after(now + datetime.timedelta(days=1))
    builder = builder.add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
    if issuer is not None:
        names = [x509.DNSName("localhost")]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(issuer_key or key, hashes.SHA256())


def text(one):
    return one.public_bytes(serialization.Encoding.PEM).decode()


class Demanding:
    """OpenSSL, which asks who is there and answers with the name. `counted` has each connection's name."""

    def __init__(self, folder):
        self.authority_key = ec.generate_private_key(ec.SECP256R1())
        self.authority = certificate("authority", self.authority_key)
        key = ec.generate_private_key(ec.SECP256R1())
        own = certificate("localhost", key, self.authority, self.authority_key)
        (folder / "server.pem").write_text(text(own) + pem(key))
        (folder / "ca.pem").write_text(text(self.authority))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "server.pem")
        context.load_verify_locations(folder / "ca.pem")
        context.verify_mode = ssl.CERT_REQUIRED
        names = self.names = {}

        class Says(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                said = dict(pair[0] for pair in self.connection.getpeercert()["subject"])["commonName"]
                names.setdefault(self.client_address, set()).add(said)
                body = json.dumps({"subject": said}).encode()
                self.send_response(200)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        class Quiet(ThreadingHTTPServer):
            def get_request(self):
                stream, address = super().get_request()
                return context.wrap_socket(stream, server_side=True, do_handshake_on_connect=False), address

            def handle_error(self, *_):
                pass

        server = Quiet(("127.0.0.1", 0), Says)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.url = f"https://localhost:{server.server_port}"

    def member(self, name):
        """A certificate of the authority, and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        return text(certificate(name, key, self.authority, self.authority_key)), pem(key)


def stranger(name):
    """The same of another authority."""
    key, other = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    return text(certificate(name, key, certificate("other", other), other)), pem(key)

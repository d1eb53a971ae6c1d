#!/usr/bin/env python3
"""ClickHouse's engine behind as much of its HTTP interface as tests need.

The engine is chDB, which is ClickHouse in a library: tables, views, partitions, tokens and formats are the real ones. Does no
TLS, knows one user, and runs one statement at a time. Ends when standard input does.

    server.py FOLDER [USER PASSWORD [PORT]]

prints the address that it listens on: a free port where none is said. `POST /fault?database=D&lose=T` has each insert into table T of database D done and its
answer lost, until it is said again.
"""

import os
import re
import sys
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

import chdb.session

# What is in a query string and is no setting of a statement.
OWN = {"query", "database", "default_format", "user", "password", "query_id", "role", "session_id"}

turn = threading.Lock()
folder = sys.argv[1]
owner = tuple(sys.argv[2:4]) or ("default", "")
session = chdb.session.Session(folder)
state = {"database": None}
lost = {}


def said(settings):
    return " SETTINGS " + ", ".join(f"{name} = '{value}'" for name, value in settings) if settings else ""


def insert(statement, settings, rows):
    """By a file: the library looks for the end of a statement in whatever comes behind it."""
    parts = re.match(r"(?is)(insert\s+into\s.*?)(\s+format\s+\w+\s*)$", statement)
    with tempfile.NamedTemporaryFile(suffix=".bin") as file:
        file.write(rows)
        file.flush()
        return session.query(f"{parts[1]} FROM INFILE '{file.name}'{said(settings)}{parts[2]}")


def run(params, body):
    query = dict(params)
    settings = [(name, value) for name, value in params if name not in OWN]
    with turn:
        database = query.get("database") or "default"
        if database != state["database"]:
            session.query(f"USE `{database}`")
            state["database"] = database
        if "query" in query and body:
            answer = insert(query["query"], settings, body)
        else:
            statement = query.get("query") or body.decode()
            answer = session.query(statement + said(settings), query.get("default_format", "TabSeparated"))
        return b"" if answer is None else answer.bytes()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def body(self):
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def answer(self, status, body, code=None):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        if code:
            self.send_header("X-ClickHouse-Exception-Code", code)
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        url = urlsplit(self.path)
        params = parse_qsl(url.query, keep_blank_values=True)
        body = self.body()
        if url.path == "/fault":
            lost[dict(params)["database"]] = dict(params)["lose"]
            return self.answer(200, b"")
        said = (self.headers.get("X-ClickHouse-User") or "default", self.headers.get("X-ClickHouse-Key") or "")
        if said != owner:
            return self.answer(403, b"Code: 516. DB::Exception: Authentication failed", "516")
        try:
            answer = run(params, body)
        except Exception as error:  # whatever the engine says is the answer
            text = str(error)
            code = re.search(r"Code: (\d+)", text)
            return self.answer(500, text.encode(), code[1] if code else "1001")
        into = re.match(r"(?i)insert\s+into\s+`?(\w+)", dict(params).get("query", ""))
        if into and into[1] == lost.get(dict(params).get("database")):
            self.close_connection = True
            return None
        return self.answer(200, answer)


class Server(ThreadingHTTPServer):
    def handle_error(self, request, client_address):
        """A client that went before its answer came is none of ours."""


server = Server(("127.0.0.1", int(sys.argv[4]) if len(sys.argv) > 4 else 0), Handler)
server.daemon_threads = True
threading.Thread(target=server.serve_forever, daemon=True).start()
print(f"127.0.0.1:{server.server_address[1]}", flush=True)
sys.stdin.read()
os._exit(0)

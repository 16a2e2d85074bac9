"""A proxy before the Blob service that refuses what a test wants, or loses its reply."""
import http.client
import ssl
import threading
from email.utils import formatdate, parsedate_to_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit


class Gate(ThreadingHTTPServer):
    """refused and lost: (method, part of the path) of requests; a lost one is done, and its connection closed."""
    daemon_threads = True
    request_queue_size = 256

    def __init__(self, endpoint: str, certificate: str | None = None):
        """certificate: a PEM file with its key; then it speaks https."""
        super().__init__(("127.0.0.1", 0), Handler)
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        self.service = urlsplit(endpoint).netloc
        self.refused = self.lost = None
        self.refusal = (403, "AuthorizationPermissionMismatch")
        self.n_refused = 0
        self.portal = None  # a page that answers everything, as that of an access point does
        self.held = None  # (method or "*", part of the path): taken, and never answered
        self.n_held = 0
        self.let_go = threading.Event()  # ends the connections of these
        self.rewrite = None  # (method, path, body of the reply) -> body
        self.ahead = 0  # seconds that the Date of replies is shifted by
        self.thread = threading.Thread(target=self.serve_forever, daemon=True)
        self.thread.start()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else each reply waits for an acknowledgement

    def meets(self, which):
        return which is not None and which[0] in ("*", self.command) and which[1] in self.path

    def forward(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.server.portal is not None:
            self.server.n_refused += 1
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(self.server.portal)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(self.server.portal)
            return
        if self.meets(self.server.refused):
            self.server.n_refused += 1
            self.send_response(self.server.refusal[0])
            self.send_header("x-ms-error-code", self.server.refusal[1])
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if self.meets(self.server.held):
            self.server.n_held += 1
            self.server.let_go.wait()
            self.close_connection = True
            return
        service = http.client.HTTPConnection(self.server.service, timeout=30)
        service.request(self.command, self.path, body or None, dict(self.headers))
        reply = service.getresponse()
        data = reply.read()
        if self.server.rewrite:
            data = self.server.rewrite(self.command, self.path, data)
        if self.meets(self.server.lost):
            self.server.lost = None
            self.close_connection = True
            service.close()
            return
        self.send_response_only(reply.status)
        for name, value in reply.getheaders():
            if name.lower() == "date" and self.server.ahead:
                value = formatdate(parsedate_to_datetime(value).timestamp() + self.server.ahead, usegmt=True)
            if name.lower() not in ("connection", "transfer-encoding", "content-length"):
                self.send_header(name, value)
        length = reply.getheader("Content-Length") if self.command == "HEAD" else str(len(data))
        self.send_header("Content-Length", length or "0")
        self.end_headers()
        self.wfile.write(data)
        service.close()

    do_GET = do_HEAD = do_PUT = do_DELETE = do_POST = do_PATCH = forward

    def log_message(self, *args):
        pass

"""A Blob service that has nothing but listings: containers/lists/nN/ are N blobs. It counts, and can hold pages back."""
import threading
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

TIME = formatdate(1_700_000_000, usegmt=True)
BLOB = ("<Blob><Name>{}</Name><Properties><Creation-Time>" + TIME + "</Creation-Time><Last-Modified>" + TIME +
        "</Last-Modified><Etag>0x8DBE5D{:09X}</Etag><Content-Length>{}</Content-Length>"
        "<Content-Type>application/octet-stream</Content-Type><Content-Encoding /><BlobType>BlockBlob</BlobType>"
        "<AccessTier>Hot</AccessTier><LeaseStatus>unlocked</LeaseStatus></Properties><OrMetadata /></Blob>")
PAGE = 5000


def name_of(i: int) -> str:
    return f"file-{i:07}.tif"


class ListServer(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.pages: list[int] = []  # first index of each page that was asked for
        self.others = 0             # listings of less: single names
        self.missing: set[str] = set()
        self.hold_from = None       # pages from this index on wait ...
        self.go_on = threading.Event()  # ... for this
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def environment(self) -> dict[str, str]:
        return {"AZURE_STORAGE_CONNECTION_STRING":
                f"DefaultEndpointsProtocol=http;AccountName=lists;AccountKey={'A' * 86}==;"
                f"BlobEndpoint=http://127.0.0.1:{self.server_port}/lists;"}

    def page(self, prefix: str, start: int) -> tuple[str, str]:
        folder = prefix.rstrip("/")
        if not prefix.endswith("/") or not folder[:1] == "n" or not folder[1:].isdigit():
            return "", ""
        n = int(folder[1:])
        self.pages.append(start)
        if self.hold_from is not None and start >= self.hold_from:
            self.go_on.wait(60)
        blobs = (BLOB.format(prefix + name_of(i), i, i) for i in range(start, min(n, start + PAGE))
                 if name_of(i) not in self.missing)
        return "".join(blobs), str(start + PAGE) if start + PAGE < n else ""

    def single(self, prefix: str) -> str:
        folder, _, name = prefix.partition("/")
        self.others += 1
        if not name:
            return f"<BlobPrefix><Name>{folder}/</Name></BlobPrefix>" if folder[:1] == "n" else ""
        i = name[5:12]
        known = i.isdigit() and name == name_of(int(i)) and int(i) < int(folder[1:]) and name not in self.missing
        return BLOB.format(prefix, int(i), int(i)) if known else ""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: ListServer

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in {"ETag": '"0x1"', "Last-Modified": TIME, **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_GET(self):
        url = urlsplit(self.path)
        query = {k: v[0] for k, v in parse_qs(url.query).items()}
        if query.get("comp") == "acl":
            return self.answer(200, b"<SignedIdentifiers />")
        if query.get("comp") != "list":
            found = query.get("restype") == "container"
            return self.answer(200) if found else self.answer(404, x_ms_error_code="BlobNotFound")
        if "restype" not in query:
            return self.answer(200, b"<EnumerationResults><Containers><Container><Name>lists</Name></Container>"
                                    b"</Containers><NextMarker /></EnumerationResults>")
        prefix, marker = query.get("prefix", ""), ""
        if query.get("maxresults") == "5000":
            items, marker = self.server.page(prefix, int(query.get("marker", 0)))
        else:
            items = self.server.single(prefix)
        self.answer(200, ("<?xml version='1.0' encoding='utf-8'?><EnumerationResults><Blobs>" + items + "</Blobs><NextMarker>"
                          + marker + "</NextMarker></EnumerationResults>").encode())

    do_HEAD = do_GET

    def do_PUT(self):
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.answer(200 if "comp=acl" in self.path else 201)

    def do_DELETE(self):
        self.server.missing.add(self.path.split("?")[0].rsplit("/", 1)[1])
        self.answer(202)

    def log_message(self, *args):
        pass

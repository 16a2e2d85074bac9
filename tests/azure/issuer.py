"""A local issuer of tokens: Entra ID's token endpoint, the metadata service of a virtual machine, App Service's
identity endpoint and the az command line, each of which checks every field of a request and takes no other."""
import base64
import hashlib
import json
import re
import subprocess
import sys
import tempfile
import threading
import time
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

sys.path.insert(0, str(Path(__file__).resolve().parent))
import jwt  # noqa: E402

TENANT = "22222222-2222-2222-2222-222222222222"
CLIENT = "33333333-3333-3333-3333-333333333333"
OBJECT = "11111111-1111-1111-1111-111111111111"
SECRET = "s3cret~with&odd=signs+%"
IDENTITY_HEADER = "header-of-app-service"
STORAGE, BATCH = "https://storage.azure.com/", "https://batch.core.windows.net/"
SCOPES = {"https://storage.azure.com/.default": STORAGE, "https://batch.core.windows.net//.default": BATCH}
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class Wrong(Exception):
    """What a request has that it must not, or lacks."""


def need(condition, what):
    if not condition:
        raise Wrong(what)


def unbase64url(text):
    need(re.fullmatch(r"[A-Za-z0-9_-]*", text), "base64url without padding")
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def make_certificate(path: Path, password: str | None = None) -> Path:
    """A self-signed certificate and its key in one PEM file."""
    key, certificate = path.with_suffix(".key"), path.with_suffix(".crt")
    protect = ["-passout", "pass:" + password] if password else ["-nodes"]
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", *protect, "-days", "2", "-subj", "/CN=adafs-test",
                    "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True, timeout=60)
    path.touch(mode=0o600)
    path.write_text(key.read_text() + certificate.read_text())
    return path


class Issuer(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, directory: Path):
        super().__init__(("127.0.0.1", 0), Handler)
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.url = "http://127.0.0.1:%d" % self.server_address[1]
        self.key = jwt.make_key(directory / "issuer.pem")
        self.iss = f"{self.url}/{TENANT}/v2.0"
        self.keys_file = directory / "keys.json"
        self.keys_file.write_text(json.dumps(jwt.jwks(self.key, issuer=self.iss, tenant=TENANT)))
        self.lifetime = 3600          # seconds that a token is good for
        self.told_lifetime = None     # what is told instead of that
        self.ahead = 0                # seconds that its clock is ahead of this machine's
        self.certificate = None       # PEM of the client's
        self.federated = None         # the only assertion of workload identity that is taken
        self.identity = {}            # parameters that a managed identity is asked by
        self.failures = []            # (status, body) of the next requests
        self.granted = []             # (flow, resource) of each token, in order
        self.wrong = []               # what requests had wrong
        self.probes = 0               # looks for the metadata service
        self.used_ids = set()
        self.delay = threading.Event()  # cleared: replies wait
        self.delay.set()
        self.lock = threading.Lock()
        self.thread = threading.Thread(target=self.serve_forever, daemon=True)
        self.thread.start()

    # --- the environment of each flow ---------------------------------------------------------

    def env_secret(self):
        return {"AZURE_AUTHORITY_HOST": self.url + "/", "AZURE_TENANT_ID": TENANT, "AZURE_CLIENT_ID": CLIENT,
                "AZURE_CLIENT_SECRET": SECRET}

    def env_certificate(self, password=None):
        self.certificate = make_certificate(self.directory / "client.pem", password)
        env = {"AZURE_AUTHORITY_HOST": self.url, "AZURE_TENANT_ID": TENANT, "AZURE_CLIENT_ID": CLIENT,
               "AZURE_CLIENT_CERTIFICATE_PATH": str(self.certificate)}
        return {**env, "AZURE_CLIENT_CERTIFICATE_PASSWORD": password} if password else env

    def env_workload(self):
        path = self.directory / "federated.jwt"
        self.federated = "eyJhbGciOiJSUzI1NiJ9.first.signature"
        path.write_text(self.federated + "\n")
        return {"AZURE_AUTHORITY_HOST": self.url, "AZURE_TENANT_ID": TENANT, "AZURE_CLIENT_ID": CLIENT,
                "AZURE_FEDERATED_TOKEN_FILE": str(path)}

    def env_imds(self):
        return {"AZURE_POD_IDENTITY_AUTHORITY_HOST": self.url}

    def env_app_service(self):
        return {"IDENTITY_ENDPOINT": self.url + "/msi/token", "IDENTITY_HEADER": IDENTITY_HEADER}

    def env_cli(self, old=False, fails=None, after=""):
        """A directory with a program az that asks this issuer; old: as before version 2.54; after: its last lines."""
        folder = self.directory / "bin"
        folder.mkdir(exist_ok=True)
        program = folder / "az"
        program.write_text("#!/usr/bin/python3\n" + AZ % {"url": self.url, "old": old, "fails": fails} + after)
        program.chmod(0o755)
        return {"PATH": f"{folder}:/usr/bin:/bin"}

    # --- tokens -------------------------------------------------------------------------------

    def token(self, flow, resource):
        now = int(time.time())
        with self.lock:
            self.granted.append((flow, resource))
            number = len(self.granted)
        return jwt.sign(self.key, {"aud": resource, "iss": self.iss, "tid": TENANT, "oid": OBJECT, "sub": OBJECT,
                                   "appid": CLIENT, "iat": now, "nbf": now, "exp": now + self.lifetime,
                                   "uti": f"{flow}-{number}"})

    def flows(self):
        return {flow for flow, _ in self.granted}

    def lives(self):
        return self.lifetime if self.told_lifetime is None else self.told_lifetime

    # --- client assertions --------------------------------------------------------------------

    def check_certificate(self, assertion):
        """RFC 7523 as Entra ID documents it for certificates."""
        parts = assertion.split(".")
        need(len(parts) == 3, "an assertion of three parts")
        header, claims = (json.loads(unbase64url(p)) for p in parts[:2])
        certificate = self.certificate.with_suffix(".crt")
        der = subprocess.run(["openssl", "x509", "-in", str(certificate), "-outform", "DER"], capture_output=True,
                             check=True).stdout
        need(header.keys() == {"alg", "typ", "x5t#S256"}, "the header's members")
        need(header["alg"] == "PS256" and header["typ"] == "JWT", "PS256 and JWT")
        need(unbase64url(header["x5t#S256"]) == hashlib.sha256(der).digest(), "the certificate's thumbprint")
        need(claims.keys() == {"aud", "iss", "sub", "jti", "iat", "nbf", "exp"}, "the claims")
        need(claims["aud"] == f"{self.url}/{TENANT}/oauth2/v2.0/token", "aud is the token endpoint")
        need(claims["iss"] == claims["sub"] == CLIENT, "iss and sub are the client")
        need(UUID.fullmatch(claims["jti"]) and claims["jti"] not in self.used_ids, "jti is a new UUID")
        self.used_ids.add(claims["jti"])
        now = time.time() + self.ahead
        need(abs(claims["nbf"] - now) < 60 and claims["nbf"] == claims["iat"], "nbf and iat are now")
        need(0 < claims["exp"] - claims["nbf"] <= 600, "exp is within ten minutes")
        with tempfile.NamedTemporaryFile(dir=self.directory) as signature, \
                tempfile.NamedTemporaryFile(dir=self.directory) as public:
            signature.write(unbase64url(parts[2]))
            signature.flush()
            public.write(subprocess.run(["openssl", "x509", "-in", str(certificate), "-pubkey", "-noout"],
                                        capture_output=True, check=True).stdout)
            public.flush()
            done = subprocess.run(["openssl", "dgst", "-sha256", "-verify", public.name, "-signature", signature.name,
                                   "-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:digest"],
                                  input=".".join(parts[:2]).encode(), capture_output=True)
        need(done.returncode == 0, "the assertion's signature")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def date_time_string(self, timestamp=None):
        return formatdate(time.time() + self.server.ahead, usegmt=True)

    def reply(self, status, body):
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def form(self):
        need(self.headers["Content-Type"] == "application/x-www-form-urlencoded", "the form's content type")
        body = self.rfile.read(int(self.headers["Content-Length"])).decode("ascii")
        return self.unique(parse_qsl(body, keep_blank_values=True, strict_parsing=True))

    @staticmethod
    def unique(pairs):
        need(len(dict(pairs)) == len(pairs), "each parameter once")
        return dict(pairs)

    def serve(self, handle):
        issuer = self.server
        issuer.delay.wait(30)
        with issuer.lock:
            failure = issuer.failures.pop(0) if issuer.failures and "?" in self.path + "?" * (self.command == "POST") \
                else None
        if failure:
            if self.command == "POST":
                self.rfile.read(int(self.headers["Content-Length"]))
            self.reply(*failure)
            return
        try:
            self.reply(200, handle(urlsplit(self.path)))
        except Wrong as wrong:
            with issuer.lock:
                issuer.wrong.append(f"{self.command} {urlsplit(self.path).path}: {wrong}")
            self.reply(400, {"error": "invalid_request", "error_description": f"AADSTS90000: {wrong}\r\nTrace ID: x"})

    # --- Entra ID -----------------------------------------------------------------------------

    def entra(self, url):
        issuer = self.server
        need(url.path == f"/{TENANT}/oauth2/v2.0/token" and not url.query, "the token endpoint's path")
        need(not self.headers["Authorization"] and not self.headers["Metadata"], "no other credential")
        form = self.form()
        need(form.pop("client_id", None) == CLIENT, "client_id")
        need(form.pop("grant_type", None) == "client_credentials", "grant_type")
        resource = SCOPES.get(form.pop("scope", None))
        need(resource, "scope")
        if "client_secret" in form:
            flow = "secret"
            need(form.pop("client_secret") == SECRET, "client_secret")
        else:
            need(form.pop("client_assertion_type", None) == ASSERTION_TYPE, "client_assertion_type")
            assertion = form.pop("client_assertion", "")
            flow = "workload" if issuer.federated else "certificate"
            if issuer.federated:
                need(assertion == issuer.federated, "the federated token of now")
            else:
                issuer.check_certificate(assertion)
        need(not form, f"no more than that: {sorted(form)}")
        return {"token_type": "Bearer", "expires_in": issuer.lives(), "ext_expires_in": issuer.lives(),
                "access_token": issuer.token(flow, resource)}

    def do_POST(self):
        self.serve(self.entra)

    # --- managed identities -------------------------------------------------------------------

    def managed(self, url, version, flow):
        issuer = self.server
        query = self.unique(parse_qsl(url.query, keep_blank_values=True, strict_parsing=True))
        need(query.pop("api-version", None) == version, "api-version")
        resource = query.pop("resource", None)
        need(resource in (STORAGE, BATCH), "resource")
        need(query == issuer.identity, f"identity {sorted(query.items())}")
        need(not self.headers["Authorization"] and not self.headers["Content-Length"], "nothing more")
        need("Via" not in self.headers and "Proxy-Connection" not in self.headers, "no proxy between")
        expires = int(time.time()) + issuer.lives()
        body = {"access_token": issuer.token(flow, resource), "client_id": CLIENT, "expires_on": str(expires),
                "resource": resource, "token_type": "Bearer"}
        if flow == "imds":
            body |= {"expires_in": str(issuer.lives()), "ext_expires_in": str(issuer.lives()),
                     "not_before": str(int(time.time()))}
        return body

    def imds(self, url):
        need(self.headers["Metadata"] == "true" and not self.headers["X-IDENTITY-HEADER"], "Metadata: true")
        return self.managed(url, "2018-02-01", "imds")

    def app_service(self, url):
        need(self.headers["X-IDENTITY-HEADER"] == IDENTITY_HEADER and not self.headers["Metadata"], "X-IDENTITY-HEADER")
        return self.managed(url, "2019-08-01", "app service")

    def az(self, url):
        issuer = self.server
        query = dict(parse_qsl(url.query))
        now = int(time.time())
        return {"accessToken": issuer.token("cli", query["resource"]), "expires_on": now + issuer.lives(),
                "subscription": "s", "tenant": TENANT, "tokenType": "Bearer"}

    def do_GET(self):
        path, _, query = self.path.partition("?")
        if path == "/metadata/identity/oauth2/token" and not query and not self.headers["Metadata"]:
            with self.server.lock:
                self.server.probes += 1
            self.reply(400, {"error": "invalid_request", "error_description": "Required metadata header not specified"})
            return
        routes = {"/metadata/identity/oauth2/token": self.imds, "/msi/token": self.app_service, "/az": self.az}

        def unknown(url):
            raise Wrong("a path that is known")
        self.serve(routes.get(path, unknown))

    def log_message(self, *args):
        pass


# What stands for the az command line. It takes the arguments that adafs is to give, in any order.
AZ = '''import json, sys, time, urllib.request
args = sys.argv[1:]
fails = %(fails)r
if fails:
    print("WARNING: something else", file=sys.stderr)
    print(fails, file=sys.stderr)
    sys.exit(1)
assert args[:2] == ["account", "get-access-token"], args
options = dict(zip(args[2::2], args[3::2]))
assert len(args) == 2 + 2 * len(options), args
assert options.pop("--output") == "json"
resource = options.pop("--resource")
options.pop("--tenant", None)
assert not options, options
assert sys.stdin.read() == ""
with urllib.request.urlopen("%(url)s/az?resource=" + resource, timeout=20) as reply:
    body = json.load(reply)
body["expiresOn"] = time.strftime("%%Y-%%m-%%d %%H:%%M:%%S.000000", time.localtime(body["expires_on"]))
if %(old)r:
    del body["expires_on"]
json.dump(body, sys.stdout, indent=2)
'''

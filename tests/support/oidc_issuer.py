"""An OpenID Connect issuer for tests, whose keys and signatures are joserfc's: discovery, JWKS, and tokens on request.

GET /.well-known/openid-configuration and /jwks as OpenID Connect Discovery 1.0 and RFC 7517 say. POST /token takes
{"kid", "alg", "claims", "header"} and answers the compact token; POST /rotate adds a key that /jwks shows from then on.
Prints `listening PORT` when it answers.
"""

import http.server
import json
import sys

from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, OKPKey, RSAKey

KEYS = {
    "rsa-1": RSAKey.generate_key(2048, {"kid": "rsa-1", "use": "sig", "alg": "RS256"}),
    "ec-1": ECKey.generate_key("P-256", {"kid": "ec-1", "use": "sig", "alg": "ES256"}),
    "ed-1": OKPKey.generate_key("Ed25519", {"kid": "ed-1", "use": "sig", "alg": "EdDSA"}),
    # Published, but never to be used for signatures by us: too short, or for encryption.
    "rsa-short": RSAKey.generate_key(1024, {"kid": "rsa-short", "use": "sig", "alg": "RS256"}),
    "rsa-enc": RSAKey.generate_key(2048, {"kid": "rsa-enc", "use": "enc", "alg": "RSA-OAEP"}),
}
# Signs, and is not published.
HIDDEN = {"rsa-hidden": RSAKey.generate_key(2048, {"kid": "rsa-hidden", "use": "sig", "alg": "RS256"})}
FETCHED = {"jwks": 0}


class Issuer(http.server.BaseHTTPRequestHandler):
    def answer(self, content, status=200):
        body = content.encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        base = f"http://127.0.0.1:{self.server.server_port}"
        if self.path == "/.well-known/openid-configuration":
            self.answer(json.dumps({"issuer": base, "jwks_uri": f"{base}/jwks"}))
        elif self.path == "/jwks":
            FETCHED["jwks"] += 1
            self.answer(json.dumps(KeySet(list(KEYS.values())).as_dict(private=False)))
        elif self.path == "/public.pem":
            self.answer(KEYS["rsa-1"].as_pem(private=False).decode())
        elif self.path == "/fetched":
            self.answer(json.dumps(FETCHED))
        else:
            self.answer("{}", 404)

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])) or "{}")
        if self.path == "/token":
            named = (KEYS | HIDDEN)[asked["kid"]].as_dict(private=True)
            # Without the words that bind it, so that it also signs what it should not.
            named = {name: value for name, value in named.items() if name not in ("alg", "use", "kid")}
            key = {"RSA": RSAKey, "EC": ECKey, "OKP": OKPKey}[named["kty"]].import_key(named)
            header = {"alg": asked["alg"], "kid": asked["kid"]} | asked.get("header", {})
            header = {name: value for name, value in header.items() if value is not None}
            algorithms = ["RS256", "RS512", "ES256", "EdDSA"]
            self.answer(jwt.encode(header, asked["claims"], key, algorithms=algorithms))
        elif self.path == "/rotate":
            KEYS["rsa-2"] = RSAKey.generate_key(2048, {"kid": "rsa-2", "use": "sig", "alg": "RS256"})
            self.answer("{}")
        else:
            self.answer("{}", 404)

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    server = http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1]) if len(sys.argv) > 1 else 0), Issuer)
    print(f"listening {server.server_port}", flush=True)
    server.serve_forever()

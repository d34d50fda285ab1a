"""A small OpenID provider over real HTTP, as strict as the Hub's: one code, one use, one redirect address, a secret."""

import base64
import html
import secrets
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from tests.support.served import Served

CLIENT, SECRET, SCOPES = "space-application", "space-secret", "openid profile"
KEY = "key-1"


@dataclass(frozen=True)
class Grant:
    """What a code stands for."""

    account: str
    redirect: str
    nonce: str


def subject(account: str) -> str:
    """The number of an account; names can change."""
    return f"sub-of-{account}"


class OpenIdProvider(Served):
    """`with OpenIdProvider(["ann"], redirect=…) as provider:` then send a browser there."""

    def __init__(self, accounts: list[str], redirect: str) -> None:
        super().__init__()
        self.accounts = accounts
        self.redirect = redirect
        """Where it sends people back to, whatever comes after the path."""
        self.refused: list[str] = []
        """Why it did not do what it was asked."""
        self._grants: dict[str, Grant] = {}
        self._tokens: dict[str, str] = {}
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/.well-known/openid-configuration", self._configuration),
                Route("/oauth/authorize", self._ask),
                Route("/oauth/consent", self._consent, methods=["POST"]),
                Route("/oauth/token", self._token, methods=["POST"]),
                Route("/oauth/userinfo", self._userinfo),
                Route("/oauth/jwks", self._keys),
            ]
        )

    async def _configuration(self, request: Request) -> Response:
        return JSONResponse(
            {
                "issuer": self.url,
                "authorization_endpoint": f"{self.url}/oauth/authorize",
                "token_endpoint": f"{self.url}/oauth/token",
                "userinfo_endpoint": f"{self.url}/oauth/userinfo",
                "jwks_uri": f"{self.url}/oauth/jwks",
                "response_types_supported": ["code"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["RS256"],
                "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
                "scopes_supported": ["openid", "profile", "email"],
            }
        )

    async def _ask(self, request: Request) -> Response:
        asked = dict(request.query_params)
        expected = {"client_id": CLIENT, "response_type": "code", "scope": SCOPES}
        wrong = [name for name, value in expected.items() if asked.get(name) != value]
        if asked.get("redirect_uri", "").split("?")[0] != self.redirect:
            wrong.append("redirect_uri")
        if wrong or not asked.get("state"):
            return self._refuse(f"authorize: {wrong or 'no state'}")
        hidden = "".join(
            f'<input type="hidden" name="{name}" value="{html.escape(asked.get(name, ""), quote=True)}">'
            for name in ("redirect_uri", "state", "nonce")
        )
        buttons = "".join(f'<button name="account" value="{one}">Go on as {one}</button>' for one in self.accounts)
        return HTMLResponse(f'<form method="post" action="/oauth/consent">{hidden}{buttons}</form>')

    async def _consent(self, request: Request) -> Response:
        form = {name: str(value) for name, value in (await request.form()).items()}
        code = secrets.token_urlsafe(16)
        self._grants[code] = Grant(form["account"], form["redirect_uri"], form["nonce"])
        joint = "&" if "?" in form["redirect_uri"] else "?"
        back = form["redirect_uri"] + joint + urlencode({"code": code, "state": form["state"]})
        return RedirectResponse(back, 302)

    async def _token(self, request: Request) -> Response:
        form = {name: str(value) for name, value in (await request.form()).items()}
        basic = request.headers.get("authorization", "").removeprefix("Basic ")
        told = base64.b64decode(basic).decode() if basic else f"{form.get('client_id')}:{form.get('client_secret')}"
        grant = self._grants.pop(form.get("code", ""), None)
        if told != f"{CLIENT}:{SECRET}":
            return self._refuse("token: wrong client", 401)
        if grant is None or form.get("redirect_uri") != grant.redirect:
            return self._refuse("token: wrong code or redirect address")
        token = secrets.token_urlsafe(16)
        self._tokens[token] = grant.account
        now = int(time.time())
        claims = self._profile(grant.account) | {"iss": self.url, "aud": CLIENT, "iat": now, "exp": now + 3600}
        signed = jwt.encode(claims | {"nonce": grant.nonce}, self._key, "RS256", headers={"kid": KEY})
        answer = {"access_token": token, "token_type": "bearer", "expires_in": 28_800, "scope": SCOPES}
        return JSONResponse(answer | {"id_token": signed})

    async def _userinfo(self, request: Request) -> Response:
        account = self._tokens.get(request.headers.get("authorization", "").removeprefix("Bearer "))
        return JSONResponse(self._profile(account)) if account else self._refuse("userinfo: wrong token", 401)

    async def _keys(self, request: Request) -> Response:
        key = RSAAlgorithm.to_jwk(self._key.public_key(), as_dict=True)
        return JSONResponse({"keys": [key | {"kid": KEY, "use": "sig", "alg": "RS256"}]})

    def _profile(self, account: str) -> dict[str, Any]:
        return {
            "sub": subject(account),
            "name": account.title(),
            "preferred_username": account,
            "profile": f"{self.url}/{account}",
            "picture": f"{self.url}/{account}.png",
        }

    def _refuse(self, why: str, status: int = 400) -> Response:
        self.refused.append(why)
        return JSONResponse({"error": "invalid_request", "error_description": why}, status)

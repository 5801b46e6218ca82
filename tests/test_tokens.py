"""JSON Web Tokens, against an issuer that publishes its keys over HTTP."""

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import get_default_algorithms

from hayhooks.core.errors import Unauthorized, Unavailable
from hayhooks.core.keys import new_key
from hayhooks.core.principal import ADMIN, ANONYMOUS
from hayhooks.server.identities import Identities
from hayhooks.server.jwks import LIFETIME_S, MAX_AGE_S, MAX_BYTES, RETRY_S, SigningKeys
from hayhooks.server.tokens import TokenRules, Tokens, scopes_of
from hayhooks.settings import InvalidSettings, load
from hayhooks.store.keys import SQLiteKeys
from tests.support.issuer import AUDIENCE, Issuer, SigningKey, running_issuer

ALGORITHMS = ("RS256", "PS256", "ES256", "ES384", "ES512", "EdDSA")


class Clock:
    def __init__(self, now_s: float) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s


class Checking:
    """Identities of a server that trusts *issuer*, with clocks that tests can move."""

    def __init__(self, issuer: Issuer, store: SQLiteKeys, *, discovers: bool = False, **rules: Any) -> None:
        self.errors: list[str] = []
        self.wall = Clock(time.time())
        self.steady = Clock(1000.0)
        url = None if discovers else issuer.jwks_url
        keys = SigningKeys(issuer.url, url, on_error=self._note, clock=self.steady)
        given = {"audiences": [AUDIENCE], "algorithms": ALGORITHMS, **rules}
        self.store = store
        self.identities = Identities(
            store, "the admin's", Tokens(TokenRules(issuer.url, **given), keys, clock=self.wall)
        )

    async def find(self, token: str) -> Any:
        return await self.identities.find([(b"authorization", b"Bearer " + token.encode())])

    async def refusal(self, token: str) -> str:
        with pytest.raises(Unauthorized) as refused:
            await self.find(token)
        assert token not in str(refused.value)
        assert token.rpartition(".")[2] not in str(refused.value) or token.endswith(".")
        return str(refused.value)

    def _note(self, what: str, error: BaseException) -> None:
        self.errors.append(f"{what}: {error}")


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with running_issuer() as issuer:
        yield issuer


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SQLiteKeys]:
    store = SQLiteKeys(tmp_path / "state.db")
    yield store
    store.close()


@pytest.fixture
def checking(issuer: Issuer, store: SQLiteKeys) -> Checking:
    return Checking(issuer, store)


async def test_a_token_tells_who_calls_and_what_they_may_do(checking: Checking, issuer: Issuer) -> None:
    caller = await checking.find(issuer.token(preferred_username="ada"))
    assert (caller.id, caller.name, caller.kind) == (f"jwt:{issuer.url}#user-1", "ada", "token")
    assert caller.scopes == {"run", "read"}
    assert (await checking.find(issuer.token(preferred_username="two\nlines"))).name == "user-1"


async def test_keys_are_fetched_once_for_many_tokens(checking: Checking, issuer: Issuer) -> None:
    for number in range(20):
        assert (await checking.find(issuer.token(sub=f"user-{number}"))).name == f"user-{number}"
    assert issuer.asked == ["/keys"]


async def test_the_issuer_itself_says_where_its_keys_are(issuer: Issuer, store: SQLiteKeys) -> None:
    checking = Checking(issuer, store, discovers=True)
    await checking.find(issuer.token())
    assert issuer.asked == ["/.well-known/openid-configuration", "/keys"]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_every_algorithm_of_the_settings_counts(checking: Checking, issuer: Issuer, algorithm: str) -> None:
    issuer.keys = [SigningKey("another", "ES256"), SigningKey("key", algorithm)]
    assert await checking.find(issuer.keys[1].sign(issuer.claims()))


@pytest.mark.parametrize(
    ("claims", "said"),
    [
        ({"exp": time.time() - 40}, "expired"),
        ({"nbf": time.time() + 10_000}, "not valid yet"),
        ({"iat": time.time() + 10_000}, "not valid yet"),
        ({"aud": "another"}, "another audience"),
        ({"aud": ["another", "third"]}, "another audience"),
        ({"aud": 5}, "another audience"),
        ({"aud": None}, "lacks the claim 'aud'"),
        ({"exp": None}, "lacks the claim 'exp'"),
        ({"sub": None}, "lacks the claim 'sub'"),
        ({"sub": ""}, "subject"),
        ({"sub": "a\nb"}, "subject"),
        ({"sub": "x" * 256}, "subject"),
        ({"exp": "soon"}, "not valid"),
        ({"exp": [1]}, "not"),
        ({"exp": {"a": 1}}, "not"),
    ],
)
async def test_a_token_whose_claims_do_not_fit_is_refused(
    checking: Checking, issuer: Issuer, claims: dict[str, Any], said: str
) -> None:
    assert said in await checking.refusal(raw(issuer.keys[0], issuer.claims(**claims)))


async def test_clocks_may_differ_by_the_leeway(checking: Checking, issuer: Issuer) -> None:
    assert await checking.find(issuer.token(exp=int(time.time()) - 10, nbf=int(time.time()) + 10))


async def test_a_token_that_was_known_is_refused_when_its_time_is_over(checking: Checking, issuer: Issuer) -> None:
    token = issuer.token()
    await checking.find(token)
    checking.wall.now_s += 329
    await checking.find(token)
    checking.wall.now_s += 2
    assert "expired" in await checking.refusal(token)


async def test_a_token_of_another_issuer_is_nobodys_here(checking: Checking, issuer: Issuer) -> None:
    for token in (
        issuer.token(iss="https://other.example"),
        issuer.token(iss=None),
        raw(issuer.keys[0], issuer.claims(iss=[issuer.url])),
        "eyJ.eyJ.x",
        "eyJhbGciOiJSUzI1NiJ9",
        "eyJ" + "[" * 50_000 + ".e30.x",
        "eyJhbGciOiJub25lIn0." + b64(b"[" * 50_000) + ".x",
    ):
        assert await checking.find(token) is ANONYMOUS
    assert "the slash matters" in await checking.refusal(issuer.token(iss=issuer.url + "/"))


async def test_a_changed_or_cut_token_is_refused(checking: Checking, issuer: Issuer) -> None:
    head, body, signature = issuer.token().split(".")
    others = b64(json.dumps(issuer.claims(scope="admin")).encode())
    assert "signature is wrong" in await checking.refusal(f"{head}.{others}.{signature}")
    assert "signature is wrong" in await checking.refusal(f"{head}.{body}.{signature[:-6]}")
    assert await checking.refusal(f"{head}.{body}.")
    assert "signature is wrong" in await checking.refusal(SigningKey("first").sign(issuer.claims()))  # not its key


async def test_a_signature_by_what_is_public_is_refused(checking: Checking, issuer: Issuer) -> None:
    issuer.keys = [SigningKey("first", "RS256")]
    public = issuer.keys[0].private.public_key()
    for known in (
        public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        json.dumps(issuer.keys[0].jwk).encode(),
        b"",
    ):
        head = b64(json.dumps({"alg": "HS256", "typ": "JWT", "kid": "first"}).encode())
        signed = f"{head}.{b64(json.dumps(issuer.claims()).encode())}"
        signature = b64(hmac.digest(known, signed.encode(), hashlib.sha256))
        assert "does not count here" in await checking.refusal(f"{signed}.{signature}")


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "", None, 5, ["ES256"], "HS512", "ES256K"])
async def test_an_unsigned_token_is_refused(checking: Checking, issuer: Issuer, algorithm: Any) -> None:
    head = b64(json.dumps({"alg": algorithm, "kid": "first"}).encode())
    body = b64(json.dumps(issuer.claims()).encode())
    for signature in ("", b64(b"x" * 64)):
        assert await checking.refusal(f"{head}.{body}.{signature}")


async def test_a_key_counts_for_its_own_algorithm_only(checking: Checking, issuer: Issuer) -> None:
    key = SigningKey("first", "RS256")
    issuer.pages["/keys"] = {"keys": [{**key.jwk, "alg": "RS256"}]}
    assert await checking.find(key.sign(issuer.claims()))
    key.algorithm = "PS256"
    assert "does not publish" in await checking.refusal(key.sign(issuer.claims()))


async def test_a_token_that_brings_its_own_key_or_demands_is_refused(checking: Checking, issuer: Issuer) -> None:
    stranger = SigningKey("stranger")
    await checking.find(issuer.token())
    for header in ({"jwk": stranger.jwk}, {"jku": "http://127.0.0.1:1/keys"}, {"x5u": "http://127.0.0.1:1/"}):
        assert await checking.refusal(stranger.sign(issuer.claims(), kid="first", **header))
    for kid in ("../../etc/passwd", "' OR 1=1", "", 5, {"a": 1}, ["first"]):
        assert await checking.refusal(raw(stranger, issuer.claims(), kid=kid))
    assert await checking.refusal(raw(issuer.keys[0], issuer.claims(), crit=["exp"]))
    assert issuer.asked.count("/keys") == 1


async def test_keys_that_are_no_signing_keys_are_passed_over(checking: Checking, issuer: Issuer) -> None:
    [good] = issuer.keys
    issuer.pages["/keys"] = {
        "keys": [
            "text", None, {}, {"kty": "oct", "k": "c2VjcmV0", "kid": "first"}, {"kty": "RSA", "kid": "first"},
            {**SigningKey("first").jwk, "use": "enc"}, {"kty": "EC", "crv": "P-256", "x": "!", "y": 5, "kid": "first"},
            good.jwk,
        ]
    }  # fmt: skip
    assert await checking.find(issuer.token())


async def test_without_a_key_id_the_only_key_is_meant(checking: Checking, issuer: Issuer) -> None:
    token = raw(issuer.keys[0], issuer.claims(), kid=None)
    assert await checking.find(token)
    issuer.keys.append(SigningKey("second"))
    other = Checking(issuer, checking.store)
    assert "does not publish" in await other.refusal(token)


async def test_when_keys_rotate_new_tokens_count_and_old_ones_do_not(checking: Checking, issuer: Issuer) -> None:
    old = issuer.token()
    await checking.find(old)
    checking.steady.now_s += RETRY_S
    issuer.keys = [SigningKey("second")]
    assert await checking.find(issuer.token())
    assert "does not publish" in await checking.refusal(old)
    assert issuer.asked == ["/keys"] * 2


async def test_unknown_key_ids_do_not_flood_the_issuer(checking: Checking, issuer: Issuer) -> None:
    stranger = SigningKey("")
    for round_number in range(3):
        for number in range(100):
            stranger.kid = f"made up {round_number} {number}"
            assert "does not publish" in await checking.refusal(stranger.sign(issuer.claims()))
        assert len(issuer.asked) == round_number + 1
        checking.steady.now_s += RETRY_S


async def test_keys_are_fetched_anew_beside_the_calls_when_their_time_is_over(
    checking: Checking, issuer: Issuer
) -> None:
    token = issuer.token()
    await checking.find(token)
    issuer.keys = [SigningKey("second")]
    checking.steady.now_s += LIFETIME_S + 1
    await checking.find(token)  # nobody waits
    while True:
        try:
            await checking.find(token)
        except Unauthorized:
            break
        await asyncio.sleep(0)
    assert issuer.asked == ["/keys"] * 2


async def test_while_the_issuer_is_away_its_keys_count_for_hours_and_then_no_more(
    checking: Checking, issuer: Issuer
) -> None:
    token = issuer.token()
    await checking.find(token)
    issuer.pages["/keys"] = 503
    checking.steady.now_s += MAX_AGE_S - 1
    for _ in range(3):
        await checking.find(token)
        checking.steady.now_s += 0.1
    checking.steady.now_s += 60
    with pytest.raises(Unavailable):
        await checking.find(token)
    assert await checking.find("the admin's") is ADMIN
    assert len(checking.errors) == 1  # once, not for each call
    del issuer.pages["/keys"]
    checking.steady.now_s += RETRY_S
    assert await checking.find(token)


@pytest.mark.parametrize(
    ("path", "page", "said"),
    [
        ("/keys", 500, "answered 500"),
        ("/keys", b"<html>", "no JSON object"),
        ("/keys", [1], "no JSON object"),
        ("/keys", {"keys": 5}, "no set of keys"),
        ("/keys", b"[" * 100_000, "no JSON object"),
        ("/keys", b" " * (MAX_BYTES + 1), "larger than"),
        ("/keys", "/elsewhere", "not followed"),
        ("/keys", "file:///etc/passwd", "answered 302"),
        ("/.well-known/openid-configuration", {"issuer": "https://other.example", "jwks_uri": "x"}, "other.example"),
        ("/.well-known/openid-configuration", {"issuer": "URL", "jwks_uri": "file:///etc/passwd"}, "no https address"),
        ("/.well-known/openid-configuration", {"issuer": "URL", "jwks_uri": "http://example.com/"}, "no https address"),
        ("/.well-known/openid-configuration", {"issuer": "URL"}, "no https address"),
    ],
)
async def test_an_issuer_that_answers_oddly_makes_tokens_unavailable_and_the_log_says_why(
    issuer: Issuer, store: SQLiteKeys, path: str, page: Any, said: str
) -> None:
    if isinstance(page, dict) and page.get("issuer") == "URL":
        page = {**page, "issuer": issuer.url}
    issuer.pages[path] = page
    checking = Checking(issuer, store, discovers=True)
    with pytest.raises(Unavailable):
        await checking.find(issuer.token())
    assert said in checking.errors[0]
    assert "/elsewhere" not in issuer.asked


async def test_a_token_beside_a_key_is_one_too_many(checking: Checking, issuer: Issuer, store: SQLiteKeys) -> None:
    key, text = new_key("ci", ["run"], created_by="admin", now_s=time.time())
    store.add(key)
    both = [(b"authorization", b"Bearer " + issuer.token().encode()), (b"x-api-key", text.encode())]
    with pytest.raises(Unauthorized, match="two different keys"):
        await checking.identities.find(both)
    both[0] = (b"authorization", b"Bearer " + issuer.token(iss="https://other.example").encode())
    assert (await checking.identities.find(both)).id == f"key:{key.id}"


@pytest.mark.parametrize(
    ("claims", "rules", "expected"),
    [
        ({"scope": "openid run run:rag-*"}, {}, {"openid", "run", "run:rag-*"}),
        ({"scope": ["run", "read"]}, {}, {"run", "read"}),
        ({"scp": ["run"], "scope": "admin"}, {"scopes_claim": "scp"}, {"run"}),
        ({"realm_access": {"roles": ["run", "ops"]}}, {"scopes_claim": "realm_access.roles"}, {"run", "ops"}),
        ({"https://a.example/roles": ["run"]}, {"scopes_claim": "https://a.example/roles"}, {"run"}),
        ({"scope": "hayhooks:run:a admin hayhooks:"}, {"scope_prefix": "hayhooks:"}, {"run:a"}),
        ({"scope": ["run", 5, None, "run:", "x y", "é", "../run", "admin:all"]}, {}, {"run"}),
        ({"scope": {"run": 1}}, {}, set()),
        ({}, {}, set()),
        ({"realm_access": "roles"}, {"scopes_claim": "realm_access.roles"}, set()),
    ],
)
def test_scopes_come_from_the_claim_that_the_settings_name(
    claims: dict[str, Any], rules: dict[str, Any], expected: set[str]
) -> None:
    assert scopes_of(claims, TokenRules("i", ["a"], ["RS256"], **rules)) == expected


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"jwt_audience": "a"}, "HAYHOOKS_JWT_ISSUER is not"),
        ({"jwt_jwks_url": "https://a.example"}, "HAYHOOKS_JWT_ISSUER is not"),
        ({"jwt_issuer": "https://a.example"}, "HAYHOOKS_JWT_AUDIENCE must be set"),
        ({"jwt_issuer": "https://a.example", "jwt_audience": " , "}, "HAYHOOKS_JWT_AUDIENCE must be set"),
        ({"jwt_issuer": "http://a.example", "jwt_audience": "a"}, "HAYHOOKS_JWT_ISSUER must be an https:// URL"),
        ({"jwt_issuer": "http://127.evil.example", "jwt_audience": "a"}, "must be an https:// URL"),
        ({"jwt_issuer": "file:///etc/passwd", "jwt_audience": "a"}, "must be an https:// URL"),
        ({"jwt_issuer": "a", "jwt_audience": "a", "jwt_jwks_url": "ftp://x"}, "HAYHOOKS_JWT_JWKS_URL must be"),
        ({"jwt_algorithms": ["HS256"]}, "HAYHOOKS_JWT_ALGORITHMS: must be some of"),
        ({"jwt_algorithms": ["RS256", "none"]}, "HAYHOOKS_JWT_ALGORITHMS: must be some of"),
        ({"jwt_algorithms": []}, "HAYHOOKS_JWT_ALGORITHMS: must be some of"),
        ({"jwt_leeway_s": 301}, "HAYHOOKS_JWT_LEEWAY_S"),
    ],
)
def test_settings_that_make_no_sense_together_are_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidSettings) as refused:
        load(admin_key="secret of the admin", **given)
    assert said in str(refused.value)
    assert "secret of the admin" not in str(refused.value)


def test_an_issuer_of_this_machine_may_do_without_tls() -> None:
    settings = load(jwt_issuer="http://localhost:8080/realms/x", jwt_audience="a, b")
    assert settings.jwt_audiences == ["a", "b"]
    assert load(jwt_issuer="a name", jwt_audience="a", jwt_jwks_url="http://[::1]:8080/keys").jwt_issuer == "a name"


# Helpers --------------------------------------------------------------------------------------------------------------


def b64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def raw(key: SigningKey, claims: dict[str, Any], **header: Any) -> str:
    """A signed token of anything: PyJWT makes none that is wrong in itself."""
    head = {
        name: value for name, value in {"alg": key.algorithm, "kid": key.kid, **header}.items() if value is not None
    }
    signed = f"{b64(json.dumps(head).encode())}.{b64(json.dumps(claims).encode())}"
    return f"{signed}.{b64(get_default_algorithms()[key.algorithm].sign(signed.encode(), key.private))}"

"""JSON Web Tokens of one issuer: whether a token counts, and whom it makes its bearer."""

import base64
import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hayhooks.core.errors import Unauthorized
from hayhooks.core.principal import ANONYMOUS, Principal, check_scope
from hayhooks.server.jwks import SigningKeys
from hayhooks.settings import AppSettings
from hayhooks.telemetry import log_error

PREFIX = b"eyJ"  # {" in base64: so every token begins
_MAX_KEPT = 10_000
_MAX_SUBJECT_CHARS = 255  # OpenID Connect Core 1.0, section 2
_MAX_NAME_CHARS = 64
_MAX_SCOPES = 200


@dataclass(frozen=True, slots=True)
class TokenRules:
    """Which tokens count, and how their claims are read."""

    issuer: str
    audiences: Sequence[str]
    algorithms: Sequence[str]
    scopes_claim: str = "scope"
    scope_prefix: str = ""
    leeway_s: float = 30.0


class Tokens:
    """Checks tokens and remembers those that count. Event loop only.

    A token is checked in full once, which takes a third of a millisecond; later on its time is looked at. What is
    remembered is forgotten when the issuer's keys change. *clock* gives Unix time.
    """

    def __init__(self, rules: TokenRules, keys: SigningKeys, *, clock: Callable[[], float] = time.time) -> None:
        self._rules = rules
        self._keys = keys
        self._clock = clock
        self._kept: dict[bytes, tuple[Principal, float]] = {}  # by digest of the token, until when
        self._generation = 0

    def is_ours(self, given: bytes) -> bool:
        """Whether it looks like a token of the issuer's."""
        return given.startswith(PREFIX) and _issuer_said(given) == self._rules.issuer

    def known(self, given: bytes) -> Principal | None:
        """Whose token it is, nobody's when it is another issuer's; None when keys must be fetched first.

        Raises:
            Unauthorized: It is the issuer's, or says so, and does not count.
        """
        self._keys.keep_fresh()
        if self._keys.generation != self._generation or not self._keys.are_there:
            self._generation, self._kept = self._keys.generation, {}
        digest = hashlib.sha256(given).digest()
        kept = self._kept.get(digest)
        if kept is not None:
            if self._clock() >= kept[1]:
                raise Unauthorized(_EXPIRED)
            return kept[0]
        said = _issuer_said(given)
        if said != self._rules.issuer:
            if said is not None and said.rstrip("/") == self._rules.issuer.rstrip("/"):
                raise Unauthorized(
                    f"The token's issuer is {said!r}; tokens of {self._rules.issuer!r} count here: the slash matters."
                )
            return ANONYMOUS
        return self._check(given, digest)

    async def fetch(self) -> None:
        """Fetch the issuer's keys, as often as that may be done."""
        await self._keys.fetch()

    def _check(self, given: bytes, digest: bytes) -> Principal | None:
        import jwt

        try:
            header = jwt.get_unverified_header(given)
        except jwt.PyJWTError:
            raise Unauthorized("The token is broken: was it cut, or changed?") from None
        algorithm, kid = header.get("alg"), header.get("kid")
        if not isinstance(algorithm, str) or algorithm not in self._rules.algorithms:
            raise Unauthorized("The token's signature is of a kind that does not count here.")
        key = self._keys.find(kid, algorithm) if self._keys.are_there else None
        if key is None:
            if not self._keys.are_there or self._keys.may_be_newer:
                return None
            raise Unauthorized("The token is signed with a key that its issuer does not publish.")
        rules = self._rules
        try:
            claims = jwt.decode(
                given,
                key,
                algorithms=[algorithm],
                audience=rules.audiences,
                issuer=rules.issuer,
                leeway=rules.leeway_s,
                options={"require": ["exp", "iss", "aud", "sub"], "enforce_minimum_key_length": True},
            )
        except jwt.PyJWTError as error:
            raise Unauthorized(_reason(error)) from None
        except (ValueError, TypeError, OverflowError):  # claims of other types than the standard's
            raise Unauthorized("The token's claims are not of the types that they must have.") from None
        caller = principal_of(claims, rules)
        if len(self._kept) >= _MAX_KEPT:
            self._forget_some()
        self._kept[digest] = (caller, float(claims["exp"]) + rules.leeway_s)
        return caller

    def _forget_some(self) -> None:
        """Make room: of those that still count, the older half goes."""
        now_s = self._clock()
        live = [(digest, kept) for digest, kept in self._kept.items() if kept[1] > now_s]
        self._kept = dict(live[-_MAX_KEPT // 2 :])


def tokens_of(settings: AppSettings) -> Tokens | None:
    """What checks tokens as the settings say; None when none count."""
    if not settings.jwt_issuer:
        return None
    rules = TokenRules(
        settings.jwt_issuer, settings.jwt_audiences, settings.jwt_algorithms, settings.jwt_scopes_claim,
        settings.jwt_scope_prefix, settings.jwt_leeway_s,
    )  # fmt: skip
    keys = SigningKeys(settings.jwt_issuer, settings.jwt_jwks_url or None, on_error=log_error)
    return Tokens(rules, keys)


def principal_of(claims: Mapping[str, Any], rules: TokenRules) -> Principal:
    """Whom the claims of a token, which were checked, make its bearer.

    Raises:
        Unauthorized: The subject cannot be shown in a log.
    """
    subject: str = claims["sub"]
    if not 1 <= len(subject) <= _MAX_SUBJECT_CHARS or not subject.isprintable():
        raise Unauthorized("The token's subject ('sub') is empty, too long, or not printable.")
    name = claims.get("preferred_username")
    if not isinstance(name, str) or not 1 <= len(name) <= _MAX_NAME_CHARS or not name.isprintable():
        name = subject
    return Principal(f"jwt:{rules.issuer}#{subject}", name, "token", scopes_of(claims, rules))


def scopes_of(claims: Mapping[str, Any], rules: TokenRules) -> frozenset[str]:
    """The scopes in the claim that the rules name; words that are no scopes here mean nothing."""
    found: Any = claims.get(rules.scopes_claim)
    if found is None:  # a name with dots is tried as it is first: some issuers' claims are URLs
        found = claims
        for step in rules.scopes_claim.split("."):
            found = found.get(step) if isinstance(found, Mapping) else None
    words = found.split() if isinstance(found, str) else found if isinstance(found, list) else ()
    scopes: set[str] = set()
    for word in words[:_MAX_SCOPES]:
        if isinstance(word, str) and word.startswith(rules.scope_prefix):
            scope = word.removeprefix(rules.scope_prefix)
            try:
                check_scope(scope)
            except ValueError:
                continue
            scopes.add(scope)
    return frozenset(scopes)


_EXPIRED = "The token has expired."


def _issuer_said(given: bytes) -> str | None:
    """Whom a token names as its issuer, which nothing has proved yet; None when it is no token."""
    parts = given.split(b".", 3)
    if len(parts) != 3:
        return None
    try:
        payload = parts[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + b"=" * (-len(payload) % 4)))
    except (ValueError, RecursionError):
        return None
    issuer = claims.get("iss") if isinstance(claims, dict) else None
    return issuer if isinstance(issuer, str) else None


def _reason(error: Exception) -> str:
    """What the bearer is told: PyJWT's own texts may quote the token."""
    import jwt

    if isinstance(error, jwt.ExpiredSignatureError):
        return _EXPIRED
    if isinstance(error, jwt.ImmatureSignatureError):
        return "The token is not valid yet. Are the clocks right?"
    if isinstance(error, jwt.InvalidAudienceError):
        return "The token is for another audience ('aud') than this server."
    if isinstance(error, jwt.MissingRequiredClaimError):
        return f"The token lacks the claim {error.claim!r}."
    if isinstance(error, jwt.InvalidSignatureError):
        return "The token's signature is wrong."
    return "The token is not valid."

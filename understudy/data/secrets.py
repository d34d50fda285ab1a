"""Secrets in a text: detect-secrets' rules for keys of well-known services, and what it lacks; placeholders are none.

Its rules for names that may be written in many ways (IBM, Softlayer, Cloudant) take half a second on a thousand rows
and are left out; the rule for named values below covers what they find.
"""

import base64
import binascii
import re
from functools import cache

BASIC = r"(?:Basic|basic|BASIC)\s+([\w+/=]{8,})"
"""A word after Basic, which is a secret if it is a name and a password (RFC 7617)."""

MORE = (
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----",
    r"AIza[\w-]{35}",
    r"github_pat_\w{30,}|gh[pousr]_[A-Za-z0-9]{30,}",
    r"hf_[A-Za-z0-9]{30,}",
    r"sk-[\w-]{20,}",
    r"sk_live_\w{16,}",
    r"xox[abprs]-[\w-]{10,}",
    r"(?:Bearer|bearer|BEARER)\s+(?=[\w.~+/=-]*\d)([\w.~+/=-]{16,})",
    r"[Aa]uthorization[\"']?\s{0,3}[:=]\s{0,3}[\"']?(?:[A-Za-z-]{2,20}\s{1,3})?(?=[\w.~+/=-]*\d)([\w.~+/=-]{16,})",
    BASIC,
)
"""Keys that its rules do not know, or know in an older form only; a long word without a digit is none."""

NAMED = re.compile(
    r"(?i:password|passwd|api[_-]?key|secret|access[_-]?token|auth[_-]?token)[\w-]{0,20}[\"']?\s{0,3}[:=]\s{0,3}"
    r"(?:[\"']([^\"'\s]{10,200})[\"']|(?=(?:[A-Za-z+/=~-]*\d){2})(?=\d*[A-Za-z])([A-Za-z0-9+/=~-]{10,200})(?![\w.(\[]))"
)
"""A value with a name such as password: in quotes, or of letters and at least two digits."""

NAMES = re.compile(r"pass(?:word|wd)|key|secret|token", re.IGNORECASE)

PLACEHOLDER = re.compile(
    r"(?i:example|your|sample|placeholder|change_?me|dummy|redacted|insert|replace|password|xxx)|\*{3,}|\.{3}|[<>{}$%]"
)
"""What people write where a secret would stand."""


HINTS = (
    *(
        "akia",
        "asia",
        "a3t",
        "abia",
        "acca",
        "aws",
        "accountkey=",
        "://",
        "ghp_",
        "gho_",
        "ghu_",
        "ghs_",
        "ghr_",
        "github_pat_",
        "glpat-",
        "gldt-",
        "glft-",
        "glsoat-",
        "glrt-",
        "glcbt-",
        "glimt-",
        "glptt-",
        "glagent-",
        "gloas-",
        "gr1348941",
        "eyj",
        "_authtoken",
        "authorization",
    ),
    *("sk-", "k_live_", "private key", "putty-", "pypi-", "sg.", "xox", "sq0csp-", "aiza", "hf_", "bearer", "basic"),
)
"""In small letters; a text without any of them fits no rule. Looking for them takes a fiftieth of the rules' time."""


def has_secret(text: str) -> bool:
    """Whether a text holds what looks like a secret and is no placeholder for one."""
    small = text.lower()
    return (any(hint in small for hint in HINTS) and _has_key(text)) or _has_named_value(text)


def replace_secrets(text: str, replacement: str) -> str:
    """Return the text with `replacement` in the place of everything that `has_secret` would find."""
    small = text.lower()
    for rule in _rules() if any(hint in small for hint in HINTS) else ():
        text = rule.sub(lambda found: replacement if _is_real(found) else found[0], text)
    return NAMED.sub(lambda found: replacement if _is_real(found) else found[0], text) if NAMES.search(text) else text


def _has_key(text: str) -> bool:
    return any(_is_real(found) for rule in _rules() for found in rule.finditer(text))


def _is_real(found: re.Match[str]) -> bool:
    """Whether a match is no placeholder; the secret itself is the rule's last group, or all of it."""
    secret = found[found.lastindex or 0]
    return not PLACEHOLDER.search(secret) and (found.re.pattern != BASIC or _is_name_and_password(secret))


def _is_name_and_password(text: str) -> bool:
    """Whether a text is `name:password` in base64 (RFC 7617)."""
    try:
        return b":" in base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except binascii.Error:
        return False


def _has_named_value(text: str) -> bool:
    if not NAMES.search(text):
        return False
    return any(map(_is_real, NAMED.finditer(text)))


@cache
def _rules() -> tuple[re.Pattern[str], ...]:
    # Imported here: it takes a third of a second, and most programs never see a hint of a secret.
    from detect_secrets.plugins import (
        aws,
        azure_storage_key,
        basic_auth,
        github_token,
        gitlab_token,
        jwt,
        npm,
        openai,
        private_key,
        pypi_token,
        sendgrid,
        slack,
        square_oauth,
        stripe,
    )

    detectors = (
        *(aws.AWSKeyDetector, azure_storage_key.AzureStorageKeyDetector, basic_auth.BasicAuthDetector),
        *(github_token.GitHubTokenDetector, gitlab_token.GitLabTokenDetector, jwt.JwtTokenDetector, npm.NpmDetector),
        *(openai.OpenAIDetector, private_key.PrivateKeyDetector, pypi_token.PypiTokenDetector),
        *(sendgrid.SendGridDetector, slack.SlackDetector, square_oauth.SquareOAuthDetector, stripe.StripeDetector),
    )
    theirs = [rule for detector in detectors for rule in detector.denylist]  # pyright: ignore
    return (*theirs, *map(re.compile, MORE))

"""Secrets are found, placeholders are not."""

import pytest

from understudy.data.secrets import has_secret

BODY = "aB3dE5gH1jK2lM4nP6qR7sT8uV9wX0yZ1aC4"


@pytest.mark.parametrize(
    "text",
    [
        f"Authorization: Bearer {BODY}",
        f'curl -H "authorization: bearer {BODY}"',
        f"Authorization: Token {BODY}",
        f'{{"Authorization": "{BODY}"}}',
        "Authorization: Basic YW5uOm9wZW4tdXAtNzc=",
        f"export API_KEY={BODY}",
        "password = s3cr3tvalue99",
        "hf_" + "a" * 34,
        f"ghp_{BODY}",
        f"sk-proj-{BODY}",
        "AKIA" + "ABCDEFGH12345678",
        "AIza" + BODY[:35],
        "-----BEGIN RSA PRIVATE KEY-----",
        "-----BEGIN PRIVATE KEY-----",
        "postgres://ann:T4xq9zzz@host/db",
        'password: "correct-horse-9"',
        f"{{'api_key': '{BODY}'}}",
        f"glpat-{BODY[:20]}",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbm4ifQ.c2lnbmF0dXJl",
    ],
)
def test_a_secret_is_found(text: str) -> None:
    assert has_secret(f"Please use {text} for it.")


@pytest.mark.parametrize(
    "text",
    [
        "Authorization: Bearer <your token here>",
        "Authorization: Bearer $TOKEN_OF_THE_SERVICE",
        "Authorization: Bearer YOUR_API_KEY_GOES_HERE",
        'api_key = "YOUR_API_KEY_HERE"',
        "password: '********************'",
        "sk-xxxxxxxxxxxxxxxxxxxxxxxxxxxx",
        "postgres://user:password@host/db",
        "Authorization: Bearer example-token-of-ours",
        "token: abc",
        "AKIAIOSFODNN7EXAMPLE",  # Amazon's own
        "Basic understanding-of-chemistry",
        "Bearer understanding-of-chemistry",
        "Basic understandings",
        "api_key = os.environ['KEY1234567890']",
        "secret = read_secret2(path1)",
        "auth_token = settings.token1.value2",
        "The password is: correctness",
        "A secret is what nobody knows; the key is under the mat.",
    ],
)
def test_a_placeholder_is_none(text: str) -> None:
    assert not has_secret(f"Please use {text} for it.")

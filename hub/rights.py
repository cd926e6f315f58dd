"""Who is pushing, and may they: asked before anything is built, so that a refusal leaves nothing behind."""

from collections.abc import Callable
from typing import Any

from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError

from .retrying import HubError, retry, status_of

_TOKENS = "https://huggingface.co/settings/tokens"


def find_account(
    api: HfApi, notify: Callable[[str], None], attempts: int | None = None, optional: bool = False
) -> dict[str, Any] | None:
    """The account behind the token, as `whoami` describes it; without a token None, if the account is `optional`.

    Raises:
        HubError: there is no token, or the Hub does not accept it.
    """

    def ask() -> dict[str, Any] | None:
        try:
            account: dict[str, Any] = api.whoami()
            return account
        except LocalTokenNotFoundError as error:
            if optional:
                return None
            raise HubError(f"no Hub token found: run `hf auth login` or set HF_TOKEN ({_TOKENS})") from error
        except HfHubHTTPError as error:
            if status_of(error) == 401:
                raise HubError(f"{api.endpoint} does not accept the token: make a new one at {_TOKENS}") from error
            raise

    return retry(ask, "asking who the token belongs to", notify=notify, attempts=attempts)


def check_rights(account: dict[str, Any], namespace: str) -> None:
    """Refuse a token that cannot write to repositories of the namespace.

    Raises:
        HubError: the token only reads, the namespace belongs to somebody else, or the role in it only reads.
    """
    name = account["name"]
    token = account.get("auth", {}).get("accessToken", {})
    if token.get("role") == "read":
        raise HubError(f"the token of {name} only reads: make one with the role `write` at {_TOKENS}")
    roles = {org["name"]: org.get("roleInOrg", "write") for org in account.get("orgs", [])}
    if namespace != name and namespace not in roles:
        known = ", ".join([name, *roles])
        raise HubError(f"{name} is no member of {namespace}: --namespace can be one of {known}")
    if roles.get(namespace) == "read":
        raise HubError(f"{name} only reads in {namespace}: ask an administrator there for the role `write`")
    if token.get("role") == "fineGrained" and not _grants(token.get("fineGrained", {}), namespace):
        raise HubError(
            f"the fine-grained token of {name} does not write to repositories of {namespace}: "
            f"tick `repo.write` for it at {_TOKENS}"
        )


def _grants(rights: dict[str, Any], namespace: str) -> bool:
    """Whether a fine-grained token has `repo.write` somewhere in the namespace."""
    scopes = [scope for scope in rights.get("scoped", []) if "repo.write" in scope.get("permissions", [])]
    owners = [str(scope.get("entity", {}).get("name", "")).split("/")[0] for scope in scopes]
    return namespace in owners or "repo.write" in rights.get("global", [])

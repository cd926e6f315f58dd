"""Who is pushing, and may they: asked before anything is built, so that a refusal leaves nothing behind."""

from typing import Any

from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError

from .contents import MANIFEST
from .kind import Kind
from .remote import Hub, Repository
from .retrying import HubError, status_of

_TOKENS = "https://huggingface.co/settings/tokens"
_TYPES = ("model", "dataset", "space")


def find_account(hub: Hub, optional: bool = False) -> dict[str, Any] | None:
    """The account behind the token, as `whoami` describes it; without a token None, if the account is `optional`.

    Raises:
        HubError: there is no token, or the Hub does not accept it.
    """

    def ask() -> dict[str, Any] | None:
        try:
            return dict(hub.api.whoami())
        except LocalTokenNotFoundError as error:
            if optional:
                return None
            raise HubError(f"no Hub token found: run `hf auth login` or set HF_TOKEN ({_TOKENS})") from error
        except HfHubHTTPError as error:
            if status_of(error) == 401:
                raise HubError(f"{hub.api.endpoint} does not accept the token: make a new one at {_TOKENS}") from error
            raise

    return hub.ask(ask, "asking who the token belongs to")


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
    if token.get("role") == "fineGrained":
        rights = token.get("fineGrained", {})
        scopes = [scope for scope in rights.get("scoped", []) if "repo.write" in scope.get("permissions", [])]
        owners = [str(scope.get("entity", {}).get("name", "")).split("/")[0] for scope in scopes]
        if namespace not in owners and "repo.write" not in rights.get("global", []):
            raise HubError(
                f"the fine-grained token of {name} does not write to repositories of {namespace}: "
                f"tick `repo.write` for it at {_TOKENS}"
            )


def check_name(repo: Repository, kind: Kind, private: bool, create_pr: bool) -> bool:
    """Whether the repository exists; refuse a name that is taken by something else.

    Raises:
        HubError: the name belongs to another type or to a repository of somebody else's making, a private push would
            land in public, or a pull request was asked for a repository that is not there.
    """
    info = repo.info()
    if info is None:
        for other in _TYPES:
            if other != kind.type and Repository(repo.hub, other, repo.id).info():
                raise HubError(f"{repo.id} is a {other} already: give the {kind.type} another name with --name")
        if create_pr:
            raise HubError(f"there is no {kind.type} {repo.id} to propose a change to: push it first")
        return False
    if private and not info.private:
        raise HubError(f"{repo.url} is public: make it private in its settings, or leave out --private")
    files = {sibling.rfilename for sibling in info.siblings or []}
    marker = (kind.marker or MANIFEST).format(name=repo.id.split("/")[1])
    if files - {".gitattributes", "README.md"} and not any(file.startswith((marker, MANIFEST)) for file in files):
        raise HubError(f"{repo.url} holds something else (no {marker}): give another name with --name")
    return True

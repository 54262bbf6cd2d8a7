"""Policies on the Hugging Face Hub, or on any server with its interface (the variable HF_ENDPOINT)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sac_dist.settings import ConfigError

PREFIX = "hf://"
POLICY, CARD = "policy.safetensors", "README.md"


def is_remote(name: object) -> bool:
    return isinstance(name, str) and name.startswith(PREFIX)


def download(name: str) -> Path:
    """The local copy of ``hf://owner/name``, its policy.safetensors, or of ``hf://owner/name/file``.

    Raises ConfigError where the name is none, there is no such repository or file, or it cannot be reached
    and no copy is kept.
    """
    parts = name.removeprefix(PREFIX).split("/", 2)
    if len(parts) < 2 or not all(parts):
        raise ConfigError(f"{name!r} names no policy: give hf://owner/name, or hf://owner/name/FILE")
    repository, file = f"{parts[0]}/{parts[1]}", parts[2] if len(parts) == 3 else POLICY
    hub = _library()
    with _one_line(repository, file):
        return Path(hub.hf_hub_download(repository, file))


def check_can_upload(repository: str) -> None:
    """Raise ConfigError for what would stop an upload after its policy has been measured and drawn."""
    hub = _library()
    if repository.count("/") != 1:
        raise ConfigError(f"--push-to-hub {repository}: give owner/name")
    with _one_line(repository, POLICY):
        hub.utils.validate_repo_id(repository)
        if hub.get_token() is None:
            raise ConfigError(f"--push-to-hub {repository} needs a token: hf auth login, or set HF_TOKEN")
        hub.create_repo(repository, exist_ok=True)


def upload(folder: Path, repository: str) -> str:
    """All files of ``folder`` as one commit to ``repository``; returns its address. Raises ConfigError."""
    hub = _library()
    with _one_line(repository, POLICY):
        paths = sorted(path for path in folder.iterdir() if path.is_file())
        files = [hub.CommitOperationAdd(path.name, path) for path in paths]
        hub.create_commit(repository, files, commit_message="sac_dist --push-to-hub")
    return f"{hub.HfApi().endpoint}/{repository}"


def _library() -> Any:
    try:
        import huggingface_hub
    except ImportError:
        raise ConfigError("the hub needs huggingface_hub: pip install 'sac-dist[hub]'") from None
    return huggingface_hub


@contextmanager
def _one_line(repository: str, file: str) -> Iterator[None]:
    """What the library raises, as ConfigError."""
    from huggingface_hub import errors
    from huggingface_hub.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()  # it would tell of each of its tries
    try:
        yield
    except errors.HFValidationError as error:
        raise ConfigError(f"{repository!r} is no name of a repository: {_first(error)}") from None
    except errors.GatedRepoError:
        raise ConfigError(f"{repository} asks for consent: give it on its page, and set HF_TOKEN") from None
    except errors.RepositoryNotFoundError:
        raise ConfigError(
            f"there is no repository {repository}, or it is private: hf auth login, or set HF_TOKEN"
        ) from None
    except errors.LocalEntryNotFoundError as error:
        cause = error.__cause__ or error
        raise ConfigError(
            f"{repository} cannot be reached and no copy of {file} is kept: {_first(cause)}"
        ) from None
    except errors.EntryNotFoundError:
        raise ConfigError(f"there is no file {file} in {repository}") from None
    except errors.HfHubHTTPError as error:
        status = error.response.status_code
        refused = "the token may not write there" if status in (401, 403) else _first(error)
        raise ConfigError(f"{repository}: the hub answers {status}: {refused}") from None
    except ConfigError:
        raise
    except Exception as error:  # of the library below: no network, a connection that breaks, a full disk
        raise ConfigError(f"{repository} at {hub_address()}: {_first(error)}") from None
    finally:
        logging.set_verbosity(before)


def hub_address() -> str:
    """HF_ENDPOINT, or the Hugging Face Hub."""
    return str(_library().HfApi().endpoint)


def _first(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]

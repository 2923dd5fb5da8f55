"""`make todo`: a service of its own, and two processes of the app behind one address; Ctrl-C ends all of it.

What it keeps is in `data` beside this file, or in the folder that `--data` names. What it does once a person would type as

    CAVEATS_OPEN_REGISTRATION=true CAVEATS_TRUSTED_PROXIES=127.0.0.1/32 caveats-service serve
    caveats login admin --scope caveats:admin --expires-in 30d --print
    caveats verifier init todo.verifier
    caveats verifier register todo.verifier --audience todo
    caveats attenuate --method POST --path /v1/revocations "$ADMIN"
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import secrets
import signal
import sys
from contextlib import suppress
from multiprocessing.connection import wait
from pathlib import Path
from socket import create_server
from typing import TYPE_CHECKING

import uvicorn

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from local_service import local_service  # noqa: E402

if TYPE_CHECKING:
    from socket import socket as Socket  # noqa: N812  # beside the variable of that name

    from local_service import LocalService

PROCESSES = 2
spawn = multiprocessing.get_context("spawn")


def main() -> None:
    """Start everything, and say where it is."""
    parser = argparse.ArgumentParser(description="The to-do list, with a service of its own.")
    parser.add_argument("--port", type=int, default=8090, help="of the app; 0: a free one")
    parser.add_argument("--service-port", type=int, default=8091, help="of the service; 0: a free one")
    parser.add_argument("--data", type=Path, default=HERE / "data", help="where everything is kept")
    given = parser.parse_args()
    try:
        socket = create_server(("127.0.0.1", given.port), backlog=2048)
    except OSError as error:
        parser.error(f"port {given.port}: {error.strerror}; name another: make todo ARGS='--port 0'")
    folder: Path = given.data.resolve()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    password = admin_password(folder / "admin.password")
    settings = {
        "CAVEATS_ADMIN_PASSWORD": password,
        "CAVEATS_OPEN_REGISTRATION": "true",
        # The app says whose sign-in it passes on: new accounts, and failed sign-ins, are counted by that address.
        "CAVEATS_TRUSTED_PROXIES": "127.0.0.1/32",
    }
    print("Starting a service, and the app.", flush=True)
    with local_service(folder, port=given.service_port, **settings) as service:
        url = f"http://127.0.0.1:{socket.getsockname()[1]}"
        os.environ.update(
            TODO_SERVICE=service.url,
            TODO_URL=url,
            TODO_DATABASE=str(folder / "todo.db"),
            TODO_STATE=str(folder / "state"),
            **credentials(service, folder / "todo.verifier", password),
        )
        # Both listen on one socket: whichever is free takes the next connection, and none is any person's.
        processes = [spawn.Process(target=serve, args=(socket,), daemon=True) for _ in range(PROCESSES)]
        for process in processes:
            process.start()
        print(f"The to-do list is serving on {url}, in {PROCESSES} processes")
        print(f"  Its service: {service.url} (the admin's password is in {folder / 'admin.password'})")
        print(
            f"  For a script: caveats login ADDRESS --url {service.url} --audience todo --print", flush=True
        )
        wait(process.sentinel for process in processes)


def serve(socket: Socket) -> None:
    """One process of the app."""
    config = uvicorn.Config(
        "todo:from_environment",
        factory=True,
        log_level="warning",
        proxy_headers=False,  # behind a proxy of your own, name it in forwarded_allow_ips instead
    )
    with suppress(KeyboardInterrupt):
        uvicorn.Server(config).run(sockets=[socket])


def admin_password(path: Path) -> str:
    """The admin's password, made at the first start."""
    if not path.exists():
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_urlsafe(16))
    return path.read_text("ascii")


def credentials(service: LocalService, verifier: Path, password: str) -> dict[str, str]:
    """What the app holds: the file with which it fetches its audience's keys, and a token that revokes.

    The token is an administrator's, narrowed until one request is left. It ends after 30 days: in production, renew it as you
    renew certificates. Nothing can be read or changed with it, and no user's token be had.
    """
    wanted = ("--scope", "caveats:admin", "--expires-in", "30d", "--print")
    admin = service.run("caveats", "login", "admin", "--password-stdin", *wanted, stdin=password)
    if not verifier.exists():
        unfinished = verifier.with_suffix(".new")
        unfinished.unlink(missing_ok=True)
        service.run("caveats", "verifier", "init", str(unfinished))
        register = ("verifier", "register", str(unfinished), "--audience", "todo", "--token", "-")
        service.run("caveats", *register, stdin=admin)
        unfinished.rename(verifier)
    narrow = ("attenuate", "--method", "POST", "--path", "/v1/revocations", "-")
    return {"TODO_VERIFIER": str(verifier), "TODO_TOKEN": service.run("caveats", *narrow, stdin=admin)}


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())  # the same end as Ctrl-C: the others are ended too
    with suppress(KeyboardInterrupt):
        main()

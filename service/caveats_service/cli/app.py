"""The program `caveats-service`: the table of its commands.

Knows in which module each command stands, and imports none of them.
"""

from __future__ import annotations

import click

from caveats_service.cli.commands import CommandGroup, DeferredCommand, Program
from caveats_service.cli.exit_codes import EXIT_CODES

_HELP = """The Caveats service: issues, verifies and revokes capability tokens.

Settings are environment variables CAVEATS_*: see `caveats-service settings`."""

app = Program(
    "caveats-service",
    _HELP,
    DeferredCommand("serve", "serve:serve", "Serve until stopped."),
    DeferredCommand("settings", "settings:show_settings", "List every setting."),
    DeferredCommand(
        "migrate", "database:migrate", "Make the database, or bring it to this version's schema."
    ),
    DeferredCommand("backup", "database:backup", "Copy the database while the service runs."),
    DeferredCommand("restore", "database:restore", "Put a backup in place while the service is stopped."),
    DeferredCommand("restored", "database:restored", "After the database was put back by other means."),
    DeferredCommand("audit", "audit:show_audit", "Show who changed what, newest first."),
    CommandGroup(
        "users",
        "Accounts: add, import, list, change, disable, delete; their tokens.",
        DeferredCommand("add", "users:add_user", "Add an account."),
        DeferredCommand("import", "user_import:import_users", "Add the accounts in a file: CSV, JSON lines."),
        DeferredCommand("list", "users:list_users", "List all accounts."),
        DeferredCommand("passwd", "users:set_password", "Set a password; revokes the user's tokens."),
        DeferredCommand("disable", "users:disable_user", "Disable an account; revokes the user's tokens."),
        DeferredCommand("enable", "users:enable_user", "Enable a disabled account again."),
        DeferredCommand("delete", "users:delete_user", "Delete an account and revoke its tokens."),
        DeferredCommand("admin", "users:set_admin", "Make a user an administrator, or ordinary again."),
        DeferredCommand("tokens", "users:list_tokens", "List a user's labelled tokens."),
        DeferredCommand("revoke", "users:revoke_tokens", "Revoke one token of a user, or all."),
    ),
    CommandGroup(
        "groups",
        "Groups of users: list, set, add, remove, delete.",
        DeferredCommand("list", "groups:list_groups", "List all groups and their members."),
        DeferredCommand("set", "groups:set_group", "Make a group, or replace the members of one."),
        DeferredCommand("add", "groups:add_member", "Add a user to a group."),
        DeferredCommand("remove", "groups:remove_member", "Remove a user from a group."),
        DeferredCommand("delete", "groups:delete_group", "Delete a group."),
    ),
    CommandGroup(
        "agents",
        "Agents, which sign in with a key: add, list, remove.",
        DeferredCommand("add", "agents:add_agent", "Register an agent's key."),
        DeferredCommand("list", "agents:list_agents", "List all agents and the users they sign in as."),
        DeferredCommand("remove", "agents:remove_agent", "Remove an agent's key."),
    ),
    CommandGroup(
        "clients",
        "Sites that issue tokens for users who are signed in there: add, list, remove.",
        DeferredCommand("add", "clients:add_client", "Add a client, and print its secret."),
        DeferredCommand("list", "clients:list_clients", "List all clients, and what they may issue."),
        DeferredCommand("remove", "clients:remove_client", "Remove a client and revoke what it has issued."),
    ),
    CommandGroup(
        "keys",
        "Master keys: list, rotate, retire; export the keys of an audience.",
        DeferredCommand("list", "keys:list_keys", "List all master keys and their states."),
        DeferredCommand("rotate", "keys:rotate_keys", "Publish a new key."),
        DeferredCommand("retire", "keys:retire_key", "Destroy a key under which tokens are issued no more."),
        DeferredCommand("export", "keys:export_keys", "Print the keys of one audience, for an app."),
    ),
    CommandGroup(
        "damage",
        "Damaged rows of the database: list, remove.",
        DeferredCommand("list", "damage:list_damage", "List rows that cannot be used."),
        DeferredCommand("remove", "damage:remove_row", "Remove a row that cannot be used."),
    ),
    DeferredCommand("completion", "completion:completion", "Print the completion script of a shell."),
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=EXIT_CODES,
)
click.version_option(package_name="caveats", prog_name="caveats-service", message="%(prog)s %(version)s")(app)

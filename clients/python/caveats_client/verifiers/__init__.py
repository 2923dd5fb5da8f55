"""Verification in an app: `local` with an audience's keys and the feed of revocations, `remote` by asking the service.

A local verifier keeps a replica of what the service knows: keys and revocations. Nothing here knows a framework:
`caveats_client.guards` puts a verifier in front of an app's endpoints.

Reading order: `local` (what apps use), `replica` (what is known), `freshness` (whether that is enough to say yes),
`sync` (keeps it up to date), `feed_client` (how the feed is asked for), `state_files` (what survives a restart),
`registration` (the app's key file), `remote` (without a key), `accepted` (what that remembers).
"""

"""Verification in an app: `local` with an audience's keys and the feed of revocations, `remote` by asking the service.

A local verifier keeps a replica of the service's keys and revocations. No module here knows a framework:
`caveats_client.guards` puts a verifier in front of an app's endpoints.

Reading order: `local` (what apps use), `replica` (the keys and revocations), `freshness` (whether they are recent
enough), `sync` (keeps them up to date), `feed_client` (how to ask for the feed), `state_files` (what is kept for a
restart), `registration` (the app's key file), `remote` (without a key), `accepted` (its cache).
"""
